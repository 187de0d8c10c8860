"""A caller's code that a type checker accepts. It is not run."""

import datetime
from typing import Any, Dict, List, Optional

import oncelog


def consume(store: oncelog.Store, ids: List[str]) -> Optional[bytes]:
    with store.begin(ids[0], lease=30) as claim:
        verdict: oncelog.Verdict = claim.verdict
        done: oncelog.Completed = claim.complete(b"result")
    marked: oncelog.Marked = store.mark(ids[0], sent_at=datetime.datetime.now(datetime.timezone.utc))
    known: List[bool] = store.contains_batch(ids)
    store.mark_batch(id.encode() for id in ids)
    record = store.find(ids[0])
    if verdict is oncelog.Verdict.FRESH or done or known[0] or record is None:
        return None
    moment: datetime.datetime = record.processed_at
    with store.lock("name", datetime.timedelta(seconds=3)) as lock:
        token: int = lock.token
    print(moment, token, marked.lsn)
    once: oncelog.Once = store.once("m", lambda: b"result", max_runtime=datetime.timedelta(hours=1))
    balance: int = store.transact(lambda tx: int(tx.get("accounts", "alice") or 0))
    kept: bool = store.begin("m", lease=30).keep_alive(60)
    print(once.result, balance, kept)
    return record.id


@oncelog.idempotent(oncelog.Store("seen"), key=lambda e: str(e["messageId"]), lease=30)
def handle(event: Dict[str, Any]) -> int:
    return len(event)


async def durable(store: oncelog.Store, answer: int) -> int:
    await store.wait_durable(store.mark("m").lsn)
    return handle({"messageId": answer})
