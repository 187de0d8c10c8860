"""Claims and locks."""

import threading
import time

import oncelog
import pytest
from oncelog import Verdict


def test_a_block_completes_the_claim(store):
    with store.begin("m-1", lease=30, correlation="c-1") as claim:
        assert claim and claim.verdict is Verdict.FRESH and claim.token > 0 and claim.owner is None
        other = store.begin("m-1", lease=30)
        assert not other and other.verdict is Verdict.IN_PROGRESS and other.owner.process > 0
        assert abs(other.owner.deadline.timestamp() - time.time() - 30) < 20
        assert store.claims()[0].id == b"m-1" and store.claims()[0].scope == "orders"
    assert not claim and claim.lsn == store.find("m-1").lsn
    assert store.find("m-1").correlation == b"c-1"
    with store.begin("m-1", lease=30) as duplicate:
        assert duplicate.verdict is Verdict.DUPLICATE and duplicate.record == store.find("m-1")
    assert store.claims() == []


def test_an_exception_frees_the_id_at_once(store):
    claim = store.begin("m-1", lease=3600)
    with pytest.raises(KeyError):
        with claim:
            raise KeyError("work")
    assert not claim.held and "m-1" not in store
    assert store.begin("m-1", lease=30).verdict is Verdict.FRESH


def test_complete_keeps_a_result(store):
    with store.begin("m-1", lease=30, ack=oncelog.Ack.DISK) as claim:
        completed = claim.complete(result="done")
        assert completed and completed.in_time and completed.lsn == claim.lsn < store.durable()
        with pytest.raises(oncelog.InvalidArgumentError, match="not held"):
            claim.complete()
    assert store.find("m-1").result == b"done"


def test_a_claim_that_is_given_up_is_not_completed(store):
    with store.begin("m-1", lease=30) as claim:
        claim.abandon()
    assert "m-1" not in store
    claim = store.begin("m-1", lease=30)
    del claim
    assert store.claims() == []


def test_a_lost_claim_is_an_error_at_the_end_of_its_block(store):
    with pytest.raises(oncelog.ClaimLostError):
        with store.begin("m-1", lease=30) as claim:
            assert claim.renew(60)
            assert store.release("m-1") and not store.release("m-1")
            winner = store.begin("m-1", lease=30)
            assert winner and winner.token > claim.token
            assert not claim.renew(60)
    assert "m-1" not in store and winner.complete()


def test_a_claim_whose_id_was_released_is_lost(store):
    with pytest.raises(oncelog.ClaimLostError):
        with store.begin("m-1", lease=30):
            store.release("m-1")
    assert "m-1" not in store


def test_patience_waits_for_the_holder(store):
    holder = store.begin("m-1", lease=3600)
    started = threading.Event()
    answers = []

    def wait():
        started.set()
        answers.append(store.begin("m-1", lease=30, patience=600).verdict)
        answers.append(store.wait_until_free("m-1", patience=600))

    waiter = threading.Thread(target=wait)
    waiter.start()
    started.wait()
    assert store.begin("m-1", lease=30, patience=0.15).verdict is Verdict.IN_PROGRESS
    assert not store.wait_until_free("m-1", patience=0.001)
    assert answers == []
    holder.complete()
    waiter.join()
    assert answers == [Verdict.DUPLICATE, True]


def test_a_claim_is_for_one_thread_at_a_time(store):
    """No two threads are in the library with one claim: whichever comes second gets an exception, and none is lost."""
    claim = store.begin("m-1", lease=3600)
    refusals = []

    def renew():
        for _ in range(2000):
            try:
                assert claim.renew(3600)
            except RuntimeError as error:
                refusals.append(str(error))

    threads = [threading.Thread(target=renew) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("one thread at a time" in refusal for refusal in refusals)
    assert claim.complete()


def test_a_lock_has_one_holder(store):
    with store.lock("report", lease=30) as lock:
        assert lock and lock.token > 0 and lock.renew(60)
        other = store.lock("report", lease=30)
        assert not other and other.owner.process > 0
        assert not store.lock("report", lease=30, patience=0.15)
        assert store.claims()[0].scope == "" and store.claims()[0].id == b"report"
    assert not lock
    assert store.lock("report", lease=30)


def test_leases_are_rounded_up(store):
    assert store.begin("m-1", lease=0.0001)
    with pytest.raises(oncelog.InvalidArgumentError):
        store.begin("m-2", lease=0)
    with pytest.raises(oncelog.InvalidArgumentError):
        store.begin("m-2", lease=-5)
