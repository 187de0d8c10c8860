"""One logical consumer's ids."""

from __future__ import annotations

import array
import os
import time
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, TypeVar, Union, overload

from . import _oncelog
from ._claim import VERDICTS, Claim, ClaimBatch
from ._errors import ForkedError
from ._values import Ack, Id, IdArray, Marked, Moment, Once, OrphanPolicy, Record, Seconds, Source, Verdict
from ._values import attributes, milliseconds

_Answer = TypeVar("_Answer")

#: A longer wait is made of these, in seconds, so that signals (Ctrl-C) are handled meanwhile.
SLICE = 0.1


class MarkedBatch(NamedTuple):
    """What marking many ids answers. Of an array of ids, the three are arrays as well."""

    verdicts: Any  #: A list of Verdict, or an array of uint8.
    lsns: Any  #: A sequence of the records' LSNs; 0 where there is none.
    redelivered: Any  #: Of 1 where the earlier record came from the same source, else 0.

    @property
    def newest(self) -> int:
        """The highest LSN over the batch: what Store.wait() takes."""
        return max(self.lsns.tolist(), default=0)


def patiently(patience: Seconds, attempt: Callable[[int], _Answer], refused: Callable[[_Answer], bool]) -> _Answer:
    """Attempts again, each time with some milliseconds of patience, until it is not refused or there is none left."""
    left_ms = milliseconds(patience)
    if left_ms <= 0:
        return attempt(left_ms)
    end = time.monotonic() + left_ms / 1000
    while True:
        left = end - time.monotonic()
        answer = attempt(milliseconds(min(max(left, 0.0), SLICE)))
        if left <= 0 or not refused(answer):
            return answer


class Called:
    """A function of the caller's. What it raises is not taken for a call that the library has refused."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.entered = False

    def __call__(self, *given: Any) -> Any:
        self.entered = True
        return self._function(*given)


def is_array(ids: object) -> bool:
    return hasattr(ids, "__array_interface__")


def verdict_list(raw: bytearray) -> List[Verdict]:
    return list(map(VERDICTS.__getitem__, raw))


def number_array(raw: bytearray, dtype: str = "uint8") -> Any:
    import numpy  # It is there: the ids came in an array.

    return numpy.frombuffer(raw, dtype=dtype)


def many(ids: Union[IdArray, Iterable[Id]]) -> Any:
    """Ids that may be read twice; one id alone is left for the extension to refuse."""
    return ids if is_array(ids) or isinstance(ids, (list, tuple, str, bytes)) else tuple(ids)  # type: ignore[arg-type]


class Opening:
    """How a store was opened, and its handle in this process. What stores and scopes share, and send to others."""

    __slots__ = ("address", "options", "raw")

    def __init__(self, address: str, options: Dict[str, Any]) -> None:
        self.address = address
        self.options = options
        self.raw = _oncelog.open(address, **options)

    def call(self, method: str, *given: object) -> Any:
        """Calls a method of the handle. In a child of fork(), where the library refuses before it does anything, of a
        new one. Threads that come here at the same time each open one, and the last is kept."""
        try:
            return getattr(self.raw, method)(*given)
        except ForkedError:
            if any(isinstance(one, Called) and one.entered for one in given):
                raise
            self.raw = _oncelog.open(self.address, **self.options)
            return getattr(self.raw, method)(*given)

    def __reduce__(self) -> Any:
        return (Opening, (self.address, self.options))


class Scope(_oncelog.Calls):
    """One logical consumer's id space, shared by all its instances. Any thread. Made by Store.scope()."""

    __slots__ = ("name", "_opening", "_orphans", "_process")

    def __init__(self, opening: Opening, name: str, orphans: OrphanPolicy) -> None:
        self.name = name
        self._opening = opening
        self._orphans = orphans
        self._process = os.getpid()
        self._raw = opening.call("scope", name, orphans)

    def _call(self, method: str, *given: object) -> Any:
        try:
            return getattr(self._raw, method)(*given)
        except ForkedError:
            if any(isinstance(one, Called) and one.entered for one in given):
                raise
            return getattr(self._reopened(), method)(*given)

    def _reopened(self) -> _oncelog.Scope:
        """In a child of fork(): the same scope of the store that is opened there."""
        self._raw = self._opening.call("scope", self.name, self._orphans)
        self._process = os.getpid()
        return self._raw

    def _current(self) -> _oncelog.Scope:
        """The handle for a call that must not be refused first, which a transaction would not survive."""
        return self._raw if self._process == os.getpid() else self._reopened()

    def __reduce__(self) -> Any:
        return (Scope, (self._opening, self.name, self._orphans))

    def __repr__(self) -> str:
        return f"<oncelog.{type(self).__name__} {self.name!r}>"

    # --- One id.

    # mark() and contains() are in the extension, which leaves to these what is more than an id.

    def _mark(
        self,
        id: Id,
        *,
        ack: Ack = Ack.DEFAULT,
        correlation: Optional[Id] = None,
        result: Optional[Id] = None,
        source: Optional[Source] = None,
        fingerprint: int = 0,
        sent_at: Optional[Moment] = None,
    ) -> Marked:
        given = attributes(correlation, result, source, fingerprint, sent_at)
        marked: Marked = self._call("mark", id, given, ack)
        return marked

    def begin(
        self,
        id: Id,
        lease: Seconds,
        *,
        patience: Seconds = 0,
        ack: Ack = Ack.DEFAULT,
        correlation: Optional[Id] = None,
        result: Optional[Id] = None,
        source: Optional[Source] = None,
        fingerprint: int = 0,
        sent_at: Optional[Moment] = None,
    ) -> Claim:
        """Claims the id for `lease` seconds, to process it and then mark it.

        Waits up to `patience` seconds while another worker holds it. `ack` is what completing it waits for.
        """
        given = attributes(correlation, result, source, fingerprint, sent_at)
        lease_ms = milliseconds(lease)

        def attempt(patience_ms: int) -> _oncelog.Claim:
            claim: _oncelog.Claim = self._call("begin", id, lease_ms, given, patience_ms)
            return claim

        def refused(claim: _oncelog.Claim) -> bool:
            return claim.verdict is Verdict.IN_PROGRESS

        return Claim(patiently(patience, attempt, refused), ack)

    def once(
        self,
        id: Id,
        function: Callable[[], Id],
        *,
        lease: Seconds = 30,
        keep_alive: bool = True,
        max_runtime: Seconds = 3600,
        patience: Seconds = 30,
        correlation: Optional[Id] = None,
        source: Optional[Source] = None,
        fingerprint: int = 0,
        sent_at: Optional[Moment] = None,
    ) -> Once:
        """Runs `function` once for the id within the retention, over all threads and processes.

        What it returns, str or bytes, is kept: later callers get that without a run, and those who come meanwhile wait
        for it, up to `patience` seconds. What it raises frees the id, and passes. While it runs, the lease is renewed in
        the background for up to `max_runtime` seconds, unless `keep_alive` is false. A process that dies, or a lease that
        expires, lets another worker run it again.
        """
        given = attributes(correlation, None, source, fingerprint, sent_at)
        lease_ms, most_ms = milliseconds(lease), milliseconds(max_runtime)
        work = Called(function)

        def attempt(patience_ms: int) -> Once:
            return Once(*self._call("once", id, work, lease_ms, given, most_ms, patience_ms, keep_alive))

        def refused(answer: Once) -> bool:
            return answer.verdict is Verdict.IN_PROGRESS and not answer.ran

        return patiently(patience, attempt, refused)

    def _contains(self, id: Id, *, correlation: Optional[Id] = None) -> bool:
        if correlation is not None:
            return bool(self._call("contains_correlated", id, correlation))
        return bool(self._call("contains", id))

    __contains__ = _oncelog.Calls.contains

    def find(self, id: Id) -> Optional[Record]:
        """The record of an id that was processed within the retention."""
        found: Optional[Record] = self._call("find", id)
        return found

    def wait_until_free(self, id: Id, patience: Seconds) -> bool:
        """Waits until the id is unclaimed, for up to `patience` seconds. Takes no claim."""
        return patiently(
            patience,
            lambda patience_ms: bool(self._call("wait_until_free", id, patience_ms)),
            lambda unclaimed: not unclaimed,
        )

    def forget(self, id: Id, *, ack: Ack = Ack.DISK) -> bool:
        """For operators: makes a processed id fresh again. Returns whether it was a duplicate."""
        return bool(self._call("forget", id, ack))

    def release(self, id: Id) -> bool:
        """For operators: frees a claimed id, whoever holds it. Returns whether there was a claim."""
        return bool(self._call("release", id))

    # --- Many ids: one call of the library. Of an array of ids, answers are arrays.

    @overload
    def contains_batch(self, ids: IdArray) -> Any: ...
    @overload
    def contains_batch(self, ids: Iterable[Id]) -> List[bool]: ...
    def contains_batch(self, ids: Union[IdArray, Iterable[Id]]) -> Any:
        """contains() for each id: a list of bool, or an array of bool."""
        known = self._call("contains_batch", many(ids))
        return number_array(known, "bool") if is_array(ids) else list(map(bool, known))

    def find_batch(self, ids: Union[IdArray, Iterable[Id]]) -> List[Optional[Record]]:
        """find() for each id."""
        records: List[Optional[Record]] = self._call("find_batch", many(ids))
        return records

    def mark_batch(self, ids: Union[IdArray, Iterable[Id]], *, ack: Ack = Ack.DEFAULT) -> MarkedBatch:
        """mark() for each id, in order. Each id is marked atomically, the batch is not."""
        verdicts, lsns, redelivered = self._call("mark_batch", many(ids), ack)
        if is_array(ids):
            return MarkedBatch(number_array(verdicts), number_array(lsns, "uint64"), number_array(redelivered))
        return MarkedBatch(verdict_list(verdicts), array.array("Q", bytes(lsns)), redelivered)

    def begin_batch(self, ids: Union[IdArray, Iterable[Id]], lease: Seconds) -> ClaimBatch:
        """begin() for each id, without attributes or patience. After an error nothing is claimed."""
        raw = self._call("begin_batch", many(ids), milliseconds(lease))
        return ClaimBatch(raw, number_array) if is_array(ids) else ClaimBatch(raw, verdict_list)
