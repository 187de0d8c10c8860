"""What is passed to a store and what it answers: verdicts, records, times."""

from __future__ import annotations

import datetime
import enum
from typing import Any, Dict, NamedTuple, Optional, Protocol, Tuple, Union

from . import _errors, _oncelog

Id = Union[str, bytes]  #: An id: bytes as they are, or text as UTF-8.
Seconds = Union[float, datetime.timedelta]  #: A length of time.
Moment = Union[float, datetime.datetime]  #: Seconds since 1970, or an aware datetime.
RawAttributes = Tuple[Id, Id, Id, int, int, int, int]

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


class IdArray(Protocol):
    """A numpy array of ids: of fixed-width bytes (dtype "S36"), or of rows of uint8."""

    @property
    def __array_interface__(self) -> Dict[str, Any]: ...


class Verdict(enum.IntEnum):
    """What the store decides on an id. Equal to its number in numpy arrays of verdicts."""

    FRESH = 0  #: Not processed within the retention; now marked or claimed.
    DUPLICATE = 1  #: Processed before, and its retention is not over.
    IN_PROGRESS = 2  #: Claimed by another worker, which may still fail.
    CONFLICT = 3  #: Processed before with another payload.
    TOO_OLD = 4  #: Not known, but older than all that is remembered.

    def __bool__(self) -> bool:
        raise TypeError("a verdict is neither true nor false: compare it, for example with Verdict.FRESH")


class Ack(enum.IntEnum):
    """What a mark waits for."""

    DEFAULT = 0  #: What the store was opened with; there it means HOST.
    HOST = 1  #: Until it survives the death of every process on the host.
    DISK = 2  #: Until it survives a power failure.


class OrphanPolicy(enum.IntEnum):
    """What the owner's death and the lease's expiry do to a claim."""

    FREE_AT_ONCE = 0  #: Either frees it.
    FREE_AFTER_LEASE = 1  #: Only the lease's expiry frees it.
    KEEP = 2  #: It stays until an operator frees it, or the host reboots.


class Source(NamedTuple):
    """Where a message came from."""

    name: Id  #: The topic or queue.
    partition: int = 0
    offset: int = 0


class Marked(NamedTuple):
    """What a mark answers. True when the id was fresh."""

    verdict: Verdict
    lsn: int  #: Of the record that stands for the id; 0 where there is none.
    redelivered: bool  #: The earlier record came from the source that was given.

    def __bool__(self) -> bool:
        return self.verdict is Verdict.FRESH


class Completed(NamedTuple):
    """What completing a claim answers. True when the id was marked."""

    in_time: bool  #: False: the claim was lost to another worker, and nothing was marked.
    lsn: int  #: Of the record, or 0.

    def __bool__(self) -> bool:
        return self.in_time


class Once(NamedTuple):
    """What Scope.once() answers."""

    #: FRESH: this call ran the function, and its result stands. DUPLICATE: another call's does. IN_PROGRESS: there is
    #: none yet, as another worker holds the id, or this call has lost it. CONFLICT, TOO_OLD: as for begin().
    verdict: Verdict
    ran: bool  #: This call ran the function. With another verdict than FRESH its result was dropped.
    result: bytes  #: What stands for the id when the verdict is FRESH or DUPLICATE.
    lsn: int  #: Of the record, or 0.


class Owner(NamedTuple):
    """Who holds a claim or lock."""

    deadline: datetime.datetime  #: When the lease expires: an estimate by the wall clock.
    process: int  #: The process's id.


class Record(NamedTuple):
    """One processed message. Texts that were not given are empty, numbers 0."""

    scope: str
    id: bytes
    correlation: bytes
    result: bytes
    source_name: bytes
    source_partition: int
    source_offset: int
    fingerprint: int
    processed_at_us: int  #: Microseconds since 1970, by the store's clock.
    lsn: int
    forgotten: bool  #: The note that an id was made fresh again, which only Store.scan() shows.

    @property
    def id_text(self) -> str:
        """The id as text. Raises UnicodeDecodeError where it is no UTF-8."""
        return self.id.decode()

    @property
    def processed_at(self) -> datetime.datetime:
        """When it was marked, in UTC."""
        return moment_of(self.processed_at_us)

    @property
    def source(self) -> Optional[Source]:
        return Source(self.source_name, self.source_partition, self.source_offset) if self.source_name else None


class ClaimInfo(NamedTuple):
    """A claim or lock that is held now, as Store.claims() lists it."""

    scope: str  #: Empty for a lock.
    id: bytes  #: Its first 64 bytes; of a lock, its name's.
    deadline_us: int
    token: int
    process: int
    owner_alive: bool
    orphans: int

    @property
    def deadline(self) -> datetime.datetime:
        return moment_of(self.deadline_us)


class Problem(NamedTuple):
    """One thing that is wrong with a store, for a person to read."""

    kind: str
    where: str
    sentence: str
    meaning: str
    remedy: str


_oncelog.setup(_errors.BY_CODE, tuple(Verdict), Marked, Record, ClaimInfo, Problem)


def moment_of(microseconds: int) -> datetime.datetime:
    return EPOCH + microseconds * MICROSECOND


def owner_of(raw: Optional[Tuple[int, int]]) -> Optional[Owner]:
    return None if raw is None else Owner(moment_of(raw[0]), raw[1])


def microseconds(moment: Optional[Moment], name: str) -> int:
    """Since 1970; 0 for None."""
    if moment is None:
        return 0
    if isinstance(moment, datetime.datetime):
        if moment.tzinfo is None:
            raise ValueError(f"{name} has no time zone: use datetime.now(timezone.utc), or seconds since 1970")
        return (moment - EPOCH) // MICROSECOND
    return round(moment * 1_000_000)


def milliseconds(seconds: Seconds) -> int:
    """Rounded up, so that what is not nothing stays so."""
    if isinstance(seconds, datetime.timedelta):
        return -(-seconds // datetime.timedelta(milliseconds=1))
    if isinstance(seconds, int):
        return seconds * 1000
    return -int(-seconds * 1000 // 1)


def attributes(
    correlation: Optional[Id] = None,
    result: Optional[Id] = None,
    source: Optional[Union[Source, Tuple[Id, int, int]]] = None,
    fingerprint: int = 0,
    sent_at: Optional[Moment] = None,
) -> Optional[RawAttributes]:
    """As the extension takes them; None where nothing is given."""
    if correlation is None and result is None and source is None and not fingerprint and sent_at is None:
        return None
    name, partition, offset = source or ("", 0, 0)
    return (correlation or b"", result or b"", name, partition, offset, fingerprint, microseconds(sent_at, "sent_at"))
