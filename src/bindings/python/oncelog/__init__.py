"""oncelog: a processed-message log for consumers that get messages at least once.

    store = oncelog.Store("/var/lib/orders/seen", scope="order-service", retention=24 * 3600)
    with store.begin(message.id, lease=30) as claim:
        if claim.verdict is oncelog.Verdict.FRESH:
            process(message)

Ids are text, which counts as UTF-8, or bytes. Lengths of time are seconds or timedelta, moments are seconds since 1970
or aware datetimes. Every call that may wait releases the GIL.
"""

from ._claim import Claim, ClaimBatch, Lock
from ._errors import (
    ClaimLostError,
    ConflictError,
    CorruptError,
    Error,
    ForkedError,
    FullError,
    InProgressError,
    InUseError,
    InvalidArgumentError,
    IoError,
    LiveDirMismatchError,
    NewerFormatError,
    NoPermissionError,
    NotAStoreError,
    NotFoundError,
    OptionsMismatchError,
    ReadOnlyError,
    TooManyReadersError,
    TooOldError,
    UnsupportedError,
)
from ._idempotent import idempotent
from ._oncelog import fingerprint, library_version, topic_matches
from ._scope import MarkedBatch, Scope
from ._store import NO_CAP, Store, restore
from ._transaction import Transaction
from ._values import Ack, ClaimInfo, Completed, Marked, Once, OrphanPolicy, Owner, Problem, Record, Source, Verdict

__all__ = [
    "NO_CAP",
    "Ack",
    "Claim",
    "ClaimBatch",
    "ClaimInfo",
    "ClaimLostError",
    "Completed",
    "ConflictError",
    "CorruptError",
    "Error",
    "ForkedError",
    "FullError",
    "InProgressError",
    "InUseError",
    "InvalidArgumentError",
    "IoError",
    "LiveDirMismatchError",
    "Lock",
    "Marked",
    "MarkedBatch",
    "NewerFormatError",
    "NoPermissionError",
    "NotAStoreError",
    "NotFoundError",
    "Once",
    "OptionsMismatchError",
    "OrphanPolicy",
    "Owner",
    "Problem",
    "ReadOnlyError",
    "Record",
    "Scope",
    "Source",
    "Store",
    "TooManyReadersError",
    "TooOldError",
    "Transaction",
    "UnsupportedError",
    "Verdict",
    "fingerprint",
    "idempotent",
    "library_version",
    "restore",
    "topic_matches",
]
