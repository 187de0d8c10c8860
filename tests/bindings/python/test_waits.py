"""No wait holds the GIL or an event loop."""

import asyncio
import os
import signal
import sys
import threading

import oncelog
import pytest

CALLS = {
    "Store.mark": lambda store, raw, scope, i: store.mark(f"m-{i}"),
    "Store.contains": lambda store, raw, scope, i: store.contains("m"),
    "mark": lambda store, raw, scope, i: scope.mark(f"m-{i}", None, 0),
    "mark, on disk": lambda store, raw, scope, i: scope.mark(f"m-{i}", None, 2),
    "contains": lambda store, raw, scope, i: scope.contains("m"),
    "contains_correlated": lambda store, raw, scope, i: scope.contains_correlated("m", "c"),
    "find": lambda store, raw, scope, i: scope.find("m"),
    "begin": lambda store, raw, scope, i: scope.begin(f"m-{i}", 30, None, 0),
    "complete": lambda store, raw, scope, i: scope.begin(f"m-{i}", 30, None, 0).complete(None, 0),
    "wait_until_free": lambda store, raw, scope, i: scope.wait_until_free("m", 0),
    "forget": lambda store, raw, scope, i: scope.forget("m", 1),
    "release": lambda store, raw, scope, i: scope.release("m"),
    "mark_batch": lambda store, raw, scope, i: scope.mark_batch([f"m-{i}"], 0),
    "contains_batch": lambda store, raw, scope, i: scope.contains_batch(["m"]),
    "find_batch": lambda store, raw, scope, i: scope.find_batch(["m"]),
    "begin_batch": lambda store, raw, scope, i: scope.begin_batch(["m"], 30),
    "lock": lambda store, raw, scope, i: raw.lock("name", 30, 0),
    "wait": lambda store, raw, scope, i: raw.wait(scope.mark(f"m-{i}", None, 0).lsn),
    "sync": lambda store, raw, scope, i: raw.sync(),
    "claims": lambda store, raw, scope, i: raw.claims(),
    "scan": lambda store, raw, scope, i: raw.scan(id, "", 0, 0),
    "correlated": lambda store, raw, scope, i: raw.correlated("c"),
    "verify": lambda store, raw, scope, i: raw.verify(False),
    "expire": lambda store, raw, scope, i: raw.expire(),
    "metrics": lambda store, raw, scope, i: raw.metrics(False),
    "scopes": lambda store, raw, scope, i: raw.scopes(),
    "scope": lambda store, raw, scope, i: raw.scope("other", 0),
}


@pytest.fixture
def no_switches():
    """A thread gets the GIL only where another one releases it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize("name", CALLS)
def test_another_thread_runs_during(name, store, no_switches):
    call = CALLS[name]
    raw, scope = store._opening.raw, store._raw
    ran = []
    go = threading.Lock()
    go.acquire()
    thread = threading.Thread(target=lambda: (go.acquire(), ran.append(True)))
    thread.start()
    go.release()
    if name == "contains":  # The shortest: the same with a loop that does not release anything must not do.
        for _ in range(100000):
            len(ran)
        assert not ran
    calls = 0
    while not ran and calls < 100000:
        call(store, raw, scope, calls)
        calls += 1
    assert ran
    thread.join()


def test_a_wait_for_a_holder_lets_the_holder_finish(store):
    """The library's own wait, without the slices that the package makes of it."""
    for wait in (
        lambda: store._raw.wait_until_free("m", 600_000),
        lambda: store._raw.begin("m", 30_000, None, 600_000).held,
        lambda: store._opening.raw.lock("name", 30_000, 600_000).held,
    ):
        claim, lock = store.begin("m", lease=3600), store.lock("name", lease=3600)
        answers = []
        started = threading.Event()
        waiter = threading.Thread(target=lambda: (started.set(), answers.append(wait())))
        waiter.start()
        started.wait()
        claim.abandon()
        lock.release()
        waiter.join()
        assert answers == [True]


def test_waiting_for_the_disk_does_not_block_the_loop(store):
    async def main():
        marked = store.mark("m-1")
        turns = 0
        waiting = asyncio.create_task(store.wait_durable(marked.lsn))
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0)
        await waiting
        return marked, turns

    marked, turns = asyncio.run(main())
    assert marked.lsn < store.durable()
    assert turns > 0


def test_many_wait_for_the_disk_at_once(store):
    async def one(i):
        marked = store.mark(f"m-{i}")
        await store.wait_durable(marked.lsn)
        return marked.lsn < store.durable()

    async def main():
        return await asyncio.gather(*(one(i) for i in range(200)))

    assert all(asyncio.run(main()))


def test_what_is_on_disk_is_not_waited_for(store):
    marked = store.mark("m-1", ack=oncelog.Ack.DISK)
    waiting = store.wait_durable(marked.lsn)
    with pytest.raises(StopIteration):  # At its end at once, without a loop.
        waiting.send(None)


def test_a_signal_ends_a_wait(store):
    held = store.begin("m", lease=3600)

    class Interrupted(Exception):
        pass

    def interrupt(number, frame):
        raise Interrupted

    before = signal.signal(signal.SIGUSR1, interrupt)
    started = threading.Event()
    killer = threading.Thread(target=lambda: (started.wait(), os.kill(os.getpid(), signal.SIGUSR1)))
    killer.start()
    try:
        with pytest.raises(Interrupted):
            started.set()
            store.begin("m", lease=30, patience=3600)
    finally:
        killer.join()
        signal.signal(signal.SIGUSR1, before)
    assert held.complete()
