"""Effects and marks that commit together."""

from __future__ import annotations

from typing import Callable, Optional

from . import _oncelog
from ._claim import Claim
from ._scope import Scope
from ._values import Id, Marked, Moment, Source, attributes

Visitor = Callable[[bytes, bytes], object]  #: Gets a key and its value; false as its answer ends the visits.


class Transaction:
    """What the function of Store.transact() gets. For its thread, and until it returns.

    A call that fails makes the transaction unusable: nothing is committed, whatever the function does then.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: _oncelog.Transaction) -> None:
        self._raw = raw

    def mark(
        self,
        scope: Scope,
        id: Id,
        *,
        correlation: Optional[Id] = None,
        result: Optional[Id] = None,
        source: Optional[Source] = None,
        fingerprint: int = 0,
        sent_at: Optional[Moment] = None,
    ) -> Marked:
        """As Scope.mark(), with the commit. The LSN of what is fresh is not known yet: 0."""
        given = attributes(correlation, result, source, fingerprint, sent_at)
        return self._raw.mark(scope._current(), id, given)

    def complete(self, claim: Claim, result: Optional[Id] = None) -> bool:
        """Ends a claim with this commit. False when it was lost, and nothing will be marked for it."""
        return self._raw.complete(claim._raw, attributes(None, result))

    def put(self, table: Id, key: Id, value: Id) -> None:
        """Sets the value of a key in a table of the caller's: 1 to 63 bytes for its name, 1 to 447 for the key."""
        self._raw.put(table, key, value)

    def get(self, table: Id, key: Id) -> Optional[bytes]:
        """What the table holds under the key, this transaction's own writes included."""
        return self._raw.get(table, key)

    def erase(self, table: Id, key: Id) -> bool:
        """Removes a key. Returns whether it was there."""
        return self._raw.erase(table, key)

    def scan(self, table: Id, visit: Visitor, *, start: Id = b"") -> None:
        """Calls `visit` for the entries from `start` on, in the order of their keys' bytes, until it returns False.

        The transaction cannot be used meanwhile.
        """
        self._raw.scan(table, start, visit)
