"""A caller's code whose marked lines a type checker refuses, and no others. It is not run."""

import oncelog

store = oncelog.Store("seen")
store.mark(7)  # wrong
store.begin("m")  # wrong
store.begin("m", lease="30")  # wrong
store.mark("m", ack="disk")  # wrong
store.find("m").id  # wrong
text: str = store.begin("m", lease=30).verdict  # wrong
store.lock("name", lease=30, wait=5)  # wrong
store.once("m", lambda: 7)  # wrong
store.transact(lambda: 7)  # wrong


@oncelog.idempotent(store, key=lambda e: str(e), lease=30)
def handle(event: int) -> int:
    return event


handle("text")  # wrong
