"""@idempotent: once for each message, the result to each duplicate."""

import asyncio
import datetime
import threading

import oncelog
import pytest
from conftest import BRIEF, await_renewal
from oncelog import idempotent


def key(event):
    return event["messageId"]


def test_a_duplicate_gets_the_result_and_no_call(store):
    calls = []

    @idempotent(store, key=lambda e: e["messageId"], lease=30)
    def handle(event):
        """Handles."""
        calls.append(event["messageId"])
        return event["answer"]

    answers = [{"total": 7, "lines": [1, None, "ä"]}, b"\x00bytes", "text", "", b"", None, 0, False]
    for i, answer in enumerate(answers):
        event = {"messageId": f"m-{i}", "answer": answer}
        assert handle(event) == answer
        replayed = handle(event)
        assert replayed == answer and type(replayed) is type(answer)
    assert calls == [f"m-{i}" for i in range(len(answers))]
    assert handle.__doc__ == "Handles." and handle.__name__ == "handle"


def test_an_exception_frees_the_message(store):
    failures = [RuntimeError("first"), KeyboardInterrupt()]

    @idempotent(store, key=key, lease=3600)
    def handle(event):
        if failures:
            raise failures.pop(0)
        return "done"

    with pytest.raises(RuntimeError, match="first"):
        handle({"messageId": "m"})
    with pytest.raises(KeyboardInterrupt):
        handle({"messageId": "m"})
    assert handle({"messageId": "m"}) == "done"


def test_a_result_that_cannot_be_kept_frees_the_message(store):
    @idempotent(store, key=key, lease=3600)
    def handle(event):
        return object()

    with pytest.raises(TypeError):
        handle({"messageId": "m"})
    assert "m" not in store and store.claims() == []


def test_a_message_in_progress_is_reported(store):
    held = store.begin("m", lease=3600)
    handle = idempotent(store, key=key, lease=30)(lambda event: "never")
    with pytest.raises(oncelog.InProgressError) as reported:
        handle({"messageId": "m"})
    # Both are estimates by the wall clock.
    assert abs(reported.value.deadline - store.claims()[0].deadline) < datetime.timedelta(minutes=1)
    held.abandon()
    assert handle({"messageId": "m"}) == "never"


def test_a_message_in_progress_is_waited_for(store):
    entered = threading.Event()
    go = threading.Event()
    calls = []

    @idempotent(store, key=key, lease=3600, wait=600)
    def handle(event):
        calls.append(event)
        entered.set()
        go.wait()
        return "once"

    answers = []
    threads = [threading.Thread(target=lambda: answers.append(handle({"messageId": "m"}))) for _ in range(3)]
    for thread in threads:
        thread.start()
    entered.wait()
    go.set()
    for thread in threads:
        thread.join()
    assert answers == ["once"] * 3 and len(calls) == 1


def test_work_that_outlives_its_claim_is_lost(store):
    @idempotent(store, key=key, lease=3600)
    def handle(event):
        store.release("m")

    with pytest.raises(oncelog.ClaimLostError):
        handle({"messageId": "m"})
    assert "m" not in store


def test_a_lease_is_renewed_while_the_work_lasts(store):
    def work(event):
        await_renewal(store)
        return "done"

    handle = idempotent(store, key=key, lease=BRIEF, max_runtime=3600)(work)

    @idempotent(store, key=key, lease=BRIEF, max_runtime=datetime.timedelta(hours=1))
    async def handle_async(event):
        return work(event)

    assert handle({"messageId": "m"}) == "done"
    assert asyncio.run(handle_async({"messageId": "n"})) == "done"


def test_another_payload_is_a_conflict(store):
    handle = idempotent(
        store, key=key, lease=30, fingerprint=lambda event: oncelog.fingerprint(event["payload"])
    )(lambda event: event["payload"])
    assert handle({"messageId": "m", "payload": "a"}) == "a"
    assert handle({"messageId": "m", "payload": "a"}) == "a"
    with pytest.raises(oncelog.ConflictError):
        handle({"messageId": "m", "payload": "b"})


def test_records_of_others(store):
    handle = idempotent(store, key=key, lease=30, ack=oncelog.Ack.DISK)(lambda event: "never")
    store.mark("plain")
    assert handle({"messageId": "plain"}) is None
    assert store.find("plain").lsn < store.durable()  # The duplicate's record is on disk as well.
    store.mark("foreign", result="xyz")
    with pytest.raises(oncelog.Error, match="not written by"):
        handle({"messageId": "foreign"})


def test_coroutine_functions(store):
    calls = []

    @idempotent(store.scope("async"), key=key, lease=3600, wait=600)
    async def handle(event):
        calls.append(event)
        await asyncio.sleep(0)
        if len(calls) == 1:
            raise ValueError("first")
        return {"answer": 7}

    async def main():
        with pytest.raises(ValueError):
            await handle({"messageId": "m"})
        return await asyncio.gather(*(handle({"messageId": "m"}) for _ in range(3)))

    assert asyncio.run(main()) == [{"answer": 7}] * 3
    assert len(calls) == 2


def test_a_coroutine_that_is_cancelled_frees_the_message(store):
    async def main():
        entered = asyncio.Event()

        @idempotent(store, key=key, lease=3600)
        async def handle(event):
            entered.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(handle({"messageId": "m"}))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert "m" not in store and store.claims() == []
