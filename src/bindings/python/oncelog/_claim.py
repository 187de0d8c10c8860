"""Claims, claims of many ids, and locks. Each is for one thread at a time, and for the process that took it."""

from __future__ import annotations

from typing import Any, Callable, Optional, Type, TypeVar

from . import _oncelog
from ._errors import ClaimLostError
from ._values import Ack, Completed, Id, Moment, Owner, Record, Seconds, Source, Verdict
from ._values import attributes, milliseconds, owner_of

VERDICTS = tuple(Verdict)

_Held = TypeVar("_Held", bound="_Leased")


class _Leased:
    """What claims and locks have in common."""

    __slots__ = ("_raw",)
    _raw: Any

    @property
    def held(self) -> bool:
        """While this handle holds it. Does not detect that the lease has expired: renew() does."""
        return bool(self._raw.held)

    @property
    def token(self) -> int:
        """The fencing token, to be passed to whatever the work writes to; 0 when nothing was taken."""
        return int(self._raw.token)

    @property
    def owner(self) -> Optional[Owner]:
        """Who holds it, when somebody else does."""
        return owner_of(self._raw.owner)

    def renew(self, lease: Seconds) -> bool:
        """Sets the lease to expire that many seconds from now. False when it is not held, or was lost."""
        return bool(self._raw.renew(milliseconds(lease)))

    def __bool__(self) -> bool:
        return self.held

    def __enter__(self: _Held) -> _Held:
        return self


class Claim(_Leased):
    """The right to process one message; true while it is held.

    Leaving a `with` block completes a claim that is still held, and raises ClaimLostError where another worker has
    taken it over; leaving it by an exception frees the id at once.
    """

    __slots__ = ("_ack", "lsn")
    _raw: _oncelog.Claim

    def __init__(self, raw: _oncelog.Claim, ack: Ack) -> None:
        self._raw = raw
        self._ack = ack
        self.lsn = 0  #: Of the record, once it is completed: for Store.wait() and Store.wait_durable().

    @property
    def verdict(self) -> Verdict:
        """FRESH when the claim was taken."""
        return self._raw.verdict

    @property
    def redelivered(self) -> bool:
        """The duplicate came from the source that its record came from."""
        return self._raw.redelivered

    @property
    def record(self) -> Optional[Record]:
        """Of a duplicate or conflict; None for other verdicts, and when it has expired since."""
        return self._raw.record

    def complete(
        self,
        result: Optional[Id] = None,
        *,
        ack: Ack = Ack.DEFAULT,
        correlation: Optional[Id] = None,
        source: Optional[Source] = None,
        fingerprint: int = 0,
        sent_at: Optional[Moment] = None,
    ) -> Completed:
        """Marks the id as processed and ends the claim, atomically.

        What is not given keeps what begin() was given. An expired lease still completes unless another worker has taken
        the id: then the answer is false, and nothing was marked.
        """
        given = attributes(correlation, result, source, fingerprint, sent_at)
        completed = Completed(*self._raw.complete(given, ack or self._ack))
        self.lsn = completed.lsn
        return completed

    def keep_alive(self, most: Seconds) -> bool:
        """Renews the lease now and then in the background while this handle holds the claim, for up to `most` seconds.

        Each time by the length that begin() was given. False when the claim is not held, or was lost.
        """
        return self._raw.keep_alive(milliseconds(most))

    def abandon(self) -> None:
        """Frees the id at once. Nothing happens when the claim is not held."""
        self._raw.abandon()

    def __exit__(self, kind: Optional[Type[BaseException]], *_: object) -> None:
        try:
            if kind is None and self.held and not self.complete():
                raise ClaimLostError("the lease expired and another worker has taken the id: nothing was marked")
        finally:
            self.abandon()

    def __repr__(self) -> str:
        return f"<oncelog.Claim {self.verdict.name}{' held' if self.held else ''}>"


class ClaimBatch:
    """Claims of many ids. As Claim in a `with` block; those that are not held are as they were."""

    __slots__ = ("_raw", "_verdicts_of", "newest")

    def __init__(self, raw: _oncelog.Batch, verdicts_of: Callable[[bytearray], Any]) -> None:
        self._raw = raw
        self._verdicts_of = verdicts_of
        self.newest = 0  #: The highest LSN over the batch, once completed: records of duplicates included.

    @property
    def verdicts(self) -> Any:
        """The verdict for each id in order: a list, or an array for an array of ids."""
        return self._verdicts_of(self._raw.verdicts())

    def complete(self) -> int:
        """Marks all ids that are held and ends their claims. Returns how many were lost to other workers."""
        late, self.newest = self._raw.complete()
        return late

    def abandon_from(self, position: int) -> None:
        """Releases the ids from `position` on, and truncates the batch to those before it."""
        self._raw.abandon_from(position)

    def abandon(self) -> None:
        """Releases all ids that are held."""
        self._raw.abandon()

    def __enter__(self) -> ClaimBatch:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], *_: object) -> None:
        if kind is not None:
            self.abandon()
            return
        if late := self.complete():
            raise ClaimLostError(f"{late} leases expired and other workers have taken the ids: those were not marked")


class Lock(_Leased):
    """A named lock of the store; true while it is held. Leaving a `with` block releases it."""

    __slots__ = ()
    _raw: _oncelog.Lock

    def __init__(self, raw: _oncelog.Lock) -> None:
        self._raw = raw

    def release(self) -> None:
        """Frees the lock at once. Nothing happens when it is not held."""
        self._raw.release()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<oncelog.Lock{' held' if self.held else ''}>"
