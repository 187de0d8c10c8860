"""Stores at an address, on the servers that the environment names."""

import os
import threading

import oncelog
import pytest
from oncelog import Verdict, idempotent

SERVERS = {"redis": "ONCELOG_TEST_REDIS", "postgresql": "ONCELOG_TEST_POSTGRESQL"}


@pytest.fixture(params=SERVERS)
def address(request):
    found = os.environ.get(SERVERS[request.param])
    if found is None:
        pytest.skip(f"{SERVERS[request.param]} names no server")
    # A store of its own for each test.
    name = "t" + str(abs(hash(request.node.name)))
    return f"{found}{'&' if '?' in found else '?'}{'prefix' if request.param == 'redis' else 'schema'}={name}"


@pytest.fixture
def store(address):
    with oncelog.Store(address, scope="orders", retention=3600) as opened:
        yield opened


def test_ids_are_marked_once_over_all_handles(store, address):
    other = oncelog.Store(address, scope="orders", retention=3600)
    assert store.mark("m-1", result="r").verdict is Verdict.FRESH
    assert other.mark("m-1").verdict is Verdict.DUPLICATE and other.find("m-1").result == b"r"
    assert other.mark_batch(["m-1", "m-2", "m-2"]).verdicts == [Verdict.DUPLICATE, Verdict.FRESH, Verdict.DUPLICATE]
    assert store.contains_batch(["m-1", "m-2", "m-3"]) == [True, True, False]
    assert store.forget("m-1") and "m-1" not in other


def test_claims_and_locks_have_one_holder(store, address):
    other = oncelog.Store(address, scope="orders", retention=3600)
    with store.begin("m-1", lease=3600) as claim:
        assert claim.held and other.begin("m-1", lease=30).verdict is Verdict.IN_PROGRESS
        assert claim.keep_alive(3600)
    assert other.begin("m-1", lease=30).verdict is Verdict.DUPLICATE
    with store.lock("leader", lease=3600), other.lock("leader", lease=30) as second:
        assert not second.held
    batch = store.begin_batch(["m-2", "m-3"], lease=3600)
    assert batch.verdicts == [Verdict.FRESH] * 2 and batch.complete() == 0


def test_work_is_done_once(store, address):
    other = oncelog.Store(address, scope="orders", retention=3600)
    entered, go = threading.Event(), threading.Event()

    def work():
        entered.set()
        go.wait()
        return "page 7"

    answers = []
    runner = threading.Thread(target=lambda: answers.append(store.once("o-1", work)))
    runner.start()
    entered.wait()
    assert other.once("o-1", work, patience=0).verdict is Verdict.IN_PROGRESS
    go.set()
    assert other.once("o-1", work, patience=600).result == b"page 7"
    runner.join()
    assert answers[0].ran and answers[0].result == b"page 7"

    def fail():
        raise ValueError("no paper")

    with pytest.raises(ValueError):
        store.once("o-2", fail)
    handle = idempotent(other, key=lambda e: e, lease=30)(lambda event: [event])
    assert handle("o-2") == ["o-2"] == handle("o-2")


def test_a_transaction_is_there_or_not(store, address):
    if address.startswith("redis"):
        with pytest.raises(oncelog.UnsupportedError):
            store.transact(lambda tx: None)
        return

    def fail(tx):
        tx.mark(store, "t-1")
        raise ValueError("stop")

    with pytest.raises(ValueError):
        store.transact(fail)
    assert "t-1" not in store
    assert store.transact(lambda tx: tx.mark(store, "t-1")).verdict is Verdict.FRESH
    assert "t-1" in store


def test_a_server_that_is_absent_is_an_error(tmp_path):
    for absent in (f"redis+unix://{tmp_path}/socket", f"postgresql://u@/d?host={tmp_path}"):
        with pytest.raises((oncelog.IoError, oncelog.UnsupportedError)):
            oncelog.Store(absent, timeout=1)
