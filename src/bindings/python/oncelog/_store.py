"""The store."""

from __future__ import annotations

import asyncio
import datetime
import os
from typing import Any, Callable, Dict, List, Optional, Tuple, TypeVar, Union

from . import _oncelog
from ._claim import Lock
from ._errors import InvalidArgumentError
from ._scope import Called, Opening, Scope, patiently
from ._transaction import Transaction, Visitor
from ._values import Ack, ClaimInfo, Id, Moment, OrphanPolicy, Problem, Record, Seconds
from ._values import microseconds, milliseconds, moment_of

Address = Union[str, "os.PathLike[str]"]

_Answer = TypeVar("_Answer")

NO_CAP = 2**64 - 1  #: For max_bytes: no cap, also where one is stored.


class _Closed:
    """What a closed store has instead of its handle."""

    def __getattr__(self, name: str) -> Any:
        raise InvalidArgumentError("the store is closed")


def _whole(name: str, value: int, bits: int) -> int:
    if not 0 <= value < 2**bits:
        raise InvalidArgumentError(f"{name} must be within 0 and 2^{bits} - 1, not {value}")
    return value


class Store(Scope):
    """A processed-message log: in a directory, or shared at an address. Any thread.

    The store is also one of its scopes, named by `scope`: what mark(), begin(), contains() and find() are about.
    scope() gives others. In a child of fork() the store opens itself again when it is first used there; it can be sent to
    processes that multiprocessing spawns, which open it as well. The C++ library's options.h explains each option.
    """

    def __init__(
        self,
        address: Address,
        *,
        scope: str = "default",
        retention: Seconds = 0,
        ack: Ack = Ack.DEFAULT,
        create: bool = True,
        read_only: bool = False,
        buckets: int = 0,
        expected_ids: int = 0,
        max_bytes: int = 0,
        live_dir: Optional[Address] = None,
        flush_interval: Seconds = 0,
        ring_bytes: int = 0,
        map_bytes: int = 0,
        max_claims: int = 0,
        max_readers: int = 0,
        allow_foreign_owner: bool = False,
        allow_network_filesystem: bool = False,
        timeout: Seconds = 0,
        connections: int = 0,
        near_directory: Optional[Address] = None,
        near_staleness: Optional[Seconds] = None,
    ) -> None:
        options: Dict[str, Any] = {
            "retention_ms": milliseconds(retention),
            "buckets": _whole("buckets", buckets, 32),
            "ack": ack,
            "never_create": not create,
            "read_only": read_only,
            "allow_foreign_owner": allow_foreign_owner,
            "allow_network_filesystem": allow_network_filesystem,
            "max_bytes": _whole("max_bytes", max_bytes, 64),
            "live_dir": None if live_dir is None else _lasting(live_dir),
            "expected_ids": _whole("expected_ids", expected_ids, 64),
            "flush_interval_ms": milliseconds(flush_interval),
            "ring_bytes": _whole("ring_bytes", ring_bytes, 64),
            "map_bytes": _whole("map_bytes", map_bytes, 64),
            "max_claims": _whole("max_claims", max_claims, 32),
            "max_readers": _whole("max_readers", max_readers, 32),
            "timeout_ms": milliseconds(timeout),
            "connections": _whole("connections", connections, 32),
            "near_directory": None if near_directory is None else _lasting(near_directory),
            # Of the library, 0 is the default and -1 nothing.
            "near_staleness_ms": 0 if near_staleness is None else milliseconds(near_staleness) or -1,
        }
        super().__init__(Opening(_lasting(address), options), scope, OrphanPolicy.FREE_AT_ONCE)

    def __reduce__(self) -> Any:
        return (_opened, (self._opening, self.name))

    def __repr__(self) -> str:
        if isinstance(self._opening, _Closed):
            return "<oncelog.Store closed>"
        address = self._opening.address
        return f"<oncelog.Store {address.split('://')[0] + '://...' if '://' in address else address}>"  # No password.

    def close(self) -> None:
        """Gives up this handle. The store flushes and closes with its last handle: scopes and claims are some, too."""
        self._opening = self._raw = _Closed()  # type: ignore[assignment]

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Scopes and locks.

    def scope(self, name: str, *, orphans: OrphanPolicy = OrphanPolicy.FREE_AT_ONCE) -> Scope:
        """The id space of that name, 1 to 255 bytes. `orphans` is for the claims taken with this handle."""
        return Scope(self._opening, name, orphans)

    def scopes(self) -> List[str]:
        """The names of all scopes that were ever used, oldest first."""
        return list(self._opening.call("scopes"))

    def lock(self, name: Id, lease: Seconds, *, patience: Seconds = 0) -> Lock:
        """A named lock for `lease` seconds. Waits up to `patience` seconds; look at whether it is held."""
        lease_ms = milliseconds(lease)

        def attempt(patience_ms: int) -> _oncelog.Lock:
            lock: _oncelog.Lock = self._opening.call("lock", name, lease_ms, patience_ms)
            return lock

        def refused(lock: _oncelog.Lock) -> bool:
            return not lock.held

        return Lock(patiently(patience, attempt, refused))

    # --- Transactions and tables.

    def transact(self, function: Callable[[Transaction], _Answer]) -> _Answer:
        """Calls `function` with a Transaction, and commits what it did with that, synced: effects and marks together.

        Returns what `function` returns. What it raises passes, and nothing is committed. One transaction runs at a time
        over all processes, so be brief; calls that write to the disk themselves are refused meanwhile.
        """
        answer: _Answer = self._opening.call("transact", Called(lambda raw: function(Transaction(raw))))
        return answer

    def get(self, table: Id, key: Id) -> Optional[bytes]:
        """The value of a table's key as of the newest commit. Takes no lock."""
        value: Optional[bytes] = self._opening.call("get", table, key)
        return value

    def scan_table(self, table: Id, visit: Visitor, *, start: Id = b"") -> None:
        """Calls `visit` for the entries from `start` on, as of one commit, until it returns False. Pins its pages."""
        self._opening.call("scan_table", table, start, visit)

    # --- What is on disk.

    def durable(self) -> int:
        """The LSN below which every record is on disk: what may be acknowledged to a broker."""
        return int(self._opening.call("durable"))

    def wait(self, lsn: int) -> None:
        """Returns when the record at `lsn` is on disk, flushing now."""
        self._opening.call("wait", lsn)

    def sync(self) -> None:
        """Returns when every mark that returned before is on disk."""
        self._opening.call("sync")

    async def wait_durable(self, lsn: int) -> None:
        """wait() that does not block the event loop: it waits in a thread of the loop's executor."""
        if self.durable() <= lsn:
            await asyncio.to_thread(self.wait, lsn)

    # --- What operators ask for.

    def known_since(self) -> datetime.datetime:
        """The moment since when every processed id is remembered."""
        return moment_of(self._opening.call("known_since"))

    def claims(self) -> List[ClaimInfo]:
        """What is claimed and locked now, by ascending token."""
        return list(self._opening.call("claims"))

    def scan(
        self,
        visit: Callable[[Record], object],
        *,
        scope: str = "",
        since: Optional[Moment] = None,
        until: Optional[Moment] = None,
    ) -> None:
        """Calls `visit` for all live records of the range, oldest first, until it returns False. Pins no space."""
        self._opening.call("scan", visit, scope, microseconds(since, "since"), microseconds(until, "until"))

    def correlated(self, correlation: Id) -> List[Record]:
        """All live records of a correlation over all scopes, oldest first."""
        return list(self._opening.call("correlated", correlation))

    def verify(self, *, deep: bool = False) -> Tuple[int, List[Problem]]:
        """How many things are wrong with the store, and the first 1000 of them."""
        count, problems = self._opening.call("verify", deep)
        return count, problems

    def expire(self) -> Tuple[int, int]:
        """Reclaims the space of all that is past its retention, now: how many buckets, and how many blocks."""
        buckets, blocks = self._opening.call("expire")
        return buckets, blocks

    def metrics(self, *, host_only: bool = False) -> str:
        """The store's figures in Prometheus' text format."""
        return str(self._opening.call("metrics", host_only))

    def backup(self, directory: Address) -> Tuple[int, int]:
        """Copies the store into the new or empty directory: marks below the first are there; the second is its size."""
        below, size = self._opening.call("backup", os.fspath(directory))
        return below, size


def _lasting(address: Address) -> str:
    """An address as it is, a path so that it stays right when the process changes its directory."""
    text = os.fspath(address)
    return text if "://" in text else os.path.abspath(text)


def _opened(opening: Opening, scope: str) -> Store:
    """A store that was sent to another process."""
    store = Store.__new__(Store)
    Scope.__init__(store, opening, scope, OrphanPolicy.FREE_AT_ONCE)
    return store


def restore(backup: Address, directory: Address, *, allow_foreign_owner: bool = False) -> Tuple[int, int]:
    """Makes a store in the new or empty directory of a backup. Returns what Store.backup() did."""
    return _oncelog.restore(os.fspath(backup), os.fspath(directory), allow_foreign_owner)
