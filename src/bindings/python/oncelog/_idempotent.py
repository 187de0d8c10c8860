"""A decorator: work that is done once for each message, and whose result is replayed to duplicates."""

from __future__ import annotations

import asyncio
import functools
import inspect
import json
from typing import Any, Callable, Optional, TypeVar, cast

from ._claim import Claim
from ._errors import ClaimLostError, ConflictError, Error, InProgressError, TooOldError
from ._scope import Scope
from ._values import Ack, Id, Record, Seconds, Verdict

_Work = TypeVar("_Work", bound=Callable[..., Any])

# A record's result begins with what it is.
_BYTES = b"b"
_JSON = b"j"


def idempotent(
    scope: Scope,
    key: Callable[..., Id],
    lease: Seconds,
    *,
    wait: Seconds = 0,
    max_runtime: Seconds = 0,
    ack: Ack = Ack.DEFAULT,
    fingerprint: Optional[Callable[..., int]] = None,
) -> Callable[[_Work], _Work]:
    """Decorates a function, or a coroutine function, that processes a message.

    `key` gets the function's arguments and returns the message's id. The function's result, bytes or what json.dumps()
    takes, is kept in the record. For a duplicate the function is not called: the kept result is returned, as JSON has
    it (tuples as lists); None for an id that was marked otherwise without a result.

    An exception of the function frees the id at once, and passes. While another worker processes the message, the call
    waits up to `wait` seconds for its result, and then raises InProgressError. With `max_runtime` the lease is renewed in
    the background while the function runs, for up to that many seconds. ClaimLostError: the function took longer than
    that, or than `lease` seconds, and another worker has taken the message over. With Ack.DISK, also a duplicate's result is
    only returned once its record is on disk. `fingerprint` gets the arguments and returns fingerprint(payload): the
    same id with another payload is then a ConflictError.
    """

    def arguments(args: Any, kwargs: Any) -> Any:
        return key(*args, **kwargs), 0 if fingerprint is None else fingerprint(*args, **kwargs)

    def decorate(work: _Work) -> _Work:
        @functools.wraps(work)
        def once(*args: Any, **kwargs: Any) -> Any:
            id, print_ = arguments(args, kwargs)
            while True:
                with scope.begin(id, lease, patience=wait, ack=ack, fingerprint=print_) as claim:
                    if claim.verdict is Verdict.FRESH:
                        _keep(claim, max_runtime)
                        value = work(*args, **kwargs)
                        _finish(claim, value)
                        return value
                    record = _earlier(claim, id)
                    if record is not None:
                        return _replayed(scope, record, ack)

        @functools.wraps(work)
        async def once_async(*args: Any, **kwargs: Any) -> Any:
            id, print_ = arguments(args, kwargs)
            begin = functools.partial(scope.begin, id, lease, ack=ack, fingerprint=print_)
            while True:
                # In a thread of the loop's executor: it may wait, for another worker, the disk or a server.
                with await asyncio.to_thread(begin, patience=wait) as claim:
                    if claim.verdict is Verdict.FRESH:
                        await asyncio.to_thread(_keep, claim, max_runtime)
                        value = await work(*args, **kwargs)
                        await asyncio.to_thread(_finish, claim, value)
                        return value
                    record = _earlier(claim, id)
                    if record is not None:
                        return await asyncio.to_thread(_replayed, scope, record, ack)

        return cast(_Work, once_async if inspect.iscoroutinefunction(work) else once)

    return decorate


def _keep(claim: Claim, max_runtime: Seconds) -> None:
    if max_runtime:
        claim.keep_alive(max_runtime)


def _finish(claim: Claim, value: Any) -> None:
    if not claim.complete(_encoded(value)):
        raise ClaimLostError("the work took longer than its lease, and another worker has taken the message over")


def _earlier(claim: Claim, id: Id) -> Optional[Record]:
    """The record of a duplicate; None when it has expired since, so that the id is fresh again."""
    if claim.verdict is Verdict.DUPLICATE:
        return claim.record
    if claim.verdict is Verdict.IN_PROGRESS:
        error = InProgressError(f"another worker is processing the message {id!r}")
        error.deadline = claim.owner.deadline if claim.owner else None
        raise error
    if claim.verdict is Verdict.CONFLICT:
        raise ConflictError(f"the message {id!r} was processed before with another payload")
    raise TooOldError(f"the message {id!r} is older than all that is remembered")


def _replayed(scope: Scope, record: Record, ack: Ack) -> Any:
    if ack is Ack.DISK:
        scope._opening.call("wait", record.lsn)
    return _decoded(record.result)


def _encoded(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray)):
        return _BYTES + value
    return _JSON + json.dumps(value, separators=(",", ":")).encode()


def _decoded(result: bytes) -> Any:
    if not result:
        return None
    if result[:1] == _BYTES:
        return result[1:]
    if result[:1] == _JSON:
        return json.loads(result[1:])
    raise Error("the record's result was not written by @idempotent")
