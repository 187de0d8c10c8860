"""The exceptions, one for each code of the library, and those of this package."""

from __future__ import annotations

import datetime
from typing import Optional


class Error(Exception):
    """Everything that goes wrong with a store. `str()` is one sentence, with the way out where there is one."""

    def __init__(self, sentence: str, path: str = "", code: int = 0) -> None:
        super().__init__(sentence, path, code)
        self.sentence = sentence
        self.path = path  #: The file or directory concerned, or "".
        self.code = code  #: The library's number, or 0.

    def __str__(self) -> str:
        return self.sentence


class InvalidArgumentError(Error, ValueError):
    """An argument is outside its range, or the call is not possible here."""


class NotFoundError(Error):
    """There is no store, and `create=False` forbids making one."""


class NotAStoreError(Error):
    """The path holds something that is not an oncelog store."""


class NewerFormatError(Error):
    """The store was written by a later format version."""


class OptionsMismatchError(Error):
    """An option contradicts the store, or this process's first handle on it."""


class LiveDirMismatchError(Error):
    """The store is open with another `live_dir`."""


class InUseError(Error):
    """Something else uses the store in a way that excludes this."""


class NoPermissionError(Error):
    """The directory or a file in it cannot be written, or has a foreign owner."""


class UnsupportedError(Error):
    """The file system, the server, the engine or the library's version cannot do it."""


class ReadOnlyError(Error):
    """A write was asked of a store that was opened with `read_only=True`."""


class FullError(Error):
    """The disk, the LMDB map or a structure's limit is full."""


class TooManyReadersError(Error):
    """More threads read at once than `max_readers`."""


class CorruptError(Error):
    """Stored bytes contradict their checksum or their format."""


class ForkedError(Error):
    """A claim, a batch of claims or a lock was used in a child of the process that took it. Stores and scopes reopen."""


class IoError(Error):
    """Any other failure of the operating system, of LMDB or of a server."""


class ClaimLostError(Error):
    """The work took longer than the lease, and another worker has taken the id: nothing was marked."""


class InProgressError(Error):
    """Another worker is processing the message, and may fail: have it delivered again."""

    #: When that worker's lease expires, an estimate by the wall clock; None where it is not known.
    deadline: Optional[datetime.datetime] = None


class ConflictError(Error):
    """The id was processed before with another payload: let a person decide."""


class TooOldError(Error):
    """The message is not known, but older than all that is remembered: perhaps it was processed."""


#: The class for each of the library's codes. ONCELOG_EXCEPTION is an Error, ONCELOG_OUT_OF_MEMORY a MemoryError.
BY_CODE = {
    1: InvalidArgumentError,
    2: NotFoundError,
    3: NotAStoreError,
    4: NewerFormatError,
    5: OptionsMismatchError,
    6: LiveDirMismatchError,
    7: InUseError,
    8: NoPermissionError,
    9: UnsupportedError,
    10: ReadOnlyError,
    11: FullError,
    12: TooManyReadersError,
    13: CorruptError,
    14: ForkedError,
    15: IoError,
    101: Error,
}
