"""Store.transact: effects and marks that commit together; tables."""

import os
import threading

import oncelog
import pytest
from oncelog import Verdict


def entries(scan, table, **given):
    seen = []
    scan(table, lambda key, value: seen.append((key, value)), **given)
    return seen


def test_effects_and_marks_commit_together(store):
    billing = store.scope("billing")
    claim = store.begin("t-2", lease=3600)
    transactions = []

    def work(tx):
        transactions.append(tx)
        assert tx.mark(store, "t-1", result="r") == (Verdict.FRESH, 0, False)
        assert tx.mark(billing, "t-1").verdict is Verdict.FRESH
        assert tx.complete(claim, "done")
        tx.put("accounts", "alice", b"30\x00")
        tx.put("accounts", "bob", "")
        tx.put("accounts", "carol", "1")
        assert tx.get("accounts", "bob") == b"" and tx.get("accounts", "dave") is None
        assert tx.erase("accounts", "carol") and not tx.erase("accounts", "carol")
        assert entries(tx.scan, "accounts") == [(b"alice", b"30\x00"), (b"bob", b"")]
        return "balance"

    assert store.transact(work) == "balance"
    assert store.find("t-1").result == b"r" and "t-1" in billing and store.find("t-2").result == b"done"
    assert store.get("accounts", "alice") == b"30\x00" and store.get("accounts", "bob") == b""
    assert store.get("accounts", "carol") is None and store.get("absent", "x") is None
    assert entries(store.scan_table, "accounts", start="b") == [(b"bob", b"")]
    first = []
    store.scan_table("accounts", lambda key, value: (first.append(key), False)[1])
    assert first == [b"alice"]
    with pytest.raises(RuntimeError, match="has ended"):
        transactions[0].get("accounts", "alice")


@pytest.mark.parametrize("raised", [ValueError("stop"), KeyboardInterrupt(), oncelog.ForkedError("its own")])
def test_what_the_function_raises_rolls_back(store, raised):
    claim = store.begin("t-3", lease=3600)

    def work(tx):
        tx.mark(store, "t-4")
        tx.complete(claim)
        tx.put("t", "k", "v")
        raise raised

    with pytest.raises(type(raised)) as seen:
        store.transact(work)
    assert seen.value is raised and "t-4" not in store and store.get("t", "k") is None
    assert not claim.held and store.claims() == []  # The transaction owned it.


def test_a_call_that_failed_rolls_back_though_the_function_returns(store):
    def work(tx):
        tx.put("t", "k", "v")
        with pytest.raises(oncelog.InvalidArgumentError):
            tx.put("", "k", "v")
        return "done"

    with pytest.raises(oncelog.InvalidArgumentError):
        store.transact(work)
    assert store.get("t", "k") is None
    for wrong in (lambda tx: store.sync(), lambda tx: store.transact(lambda inner: None)):
        with pytest.raises(oncelog.InvalidArgumentError):
            store.transact(wrong)


def test_wrong_arguments_are_type_errors(store):
    for wrong in (
        lambda tx: tx.put("t", 7, "v"),
        lambda tx: tx._raw.mark(store, "m", None),
        lambda tx: tx._raw.complete(store, None),
        lambda tx: entries(tx.scan, 7),
    ):
        with pytest.raises(TypeError):
            store.transact(wrong)


def test_a_transaction_is_for_its_thread_and_not_used_by_its_visitor(store):
    refused = []

    def use(tx):
        with pytest.raises(RuntimeError) as seen:
            tx.get("t", "k")
        refused.append(str(seen.value))

    def work(tx):
        tx.put("t", "k", "v")
        other = threading.Thread(target=use, args=(tx,))
        other.start()
        other.join()
        tx.scan("t", lambda key, value: use(tx))
        with pytest.raises(KeyError):
            tx.scan("t", lambda key, value: {}[key])
        return tx.get("t", "k")

    assert store.transact(work) == b"v"
    assert "thread" in refused[0] and "visiting" in refused[1]
    with pytest.raises(KeyError):
        store.scan_table("t", lambda key, value: {}[key])


def test_threads_take_turns(store):
    def add(tx):
        tx.put("t", "n", str(int(tx.get("t", "n") or 0) + 1))

    threads = [threading.Thread(target=lambda: [store.transact(add) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("t", "n") == b"40"


def test_a_child_reopens_store_and_scope(store):
    store.sync()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if store.transact(lambda tx: tx.mark(store, "child")).verdict is Verdict.FRESH else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert "child" in store
