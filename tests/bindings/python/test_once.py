"""Scope.once: a function that runs once for an id; claims that are kept alive."""

import multiprocessing
import os
import threading

import oncelog
import pytest
import work_of_children
from conftest import BRIEF, await_renewal
from oncelog import Verdict


def never():
    raise AssertionError("it was run")


def test_a_later_caller_gets_the_first_ones_bytes(store):
    first = store.once("o-1", lambda: b"page\x007", correlation="order 1")
    assert first == (Verdict.FRESH, True, b"page\x007", first.lsn) and first.lsn > 0
    assert store.once("o-1", never) == (Verdict.DUPLICATE, False, b"page\x007", first.lsn)
    assert store.find("o-1").correlation == b"order 1"
    assert store.once("o-2", lambda: "ä").result == "ä".encode()


@pytest.mark.parametrize("raised", [ValueError("no paper"), KeyboardInterrupt(), oncelog.ForkedError("its own")])
def test_an_exception_frees_the_id_and_passes(store, raised):
    calls = []

    def fail():
        calls.append(1)
        raise raised

    with pytest.raises(type(raised)) as seen:
        store.once("o-3", fail)
    assert seen.value is raised and calls == [1]
    assert store.claims() == [] and store.once("o-3", lambda: "done").ran


def test_a_result_that_is_no_text_frees_the_id(store):
    for wrong in (lambda: None, lambda: 7):
        with pytest.raises(TypeError, match="what the function returns must be str or bytes"):
            store.once("o-4", wrong)
    with pytest.raises(oncelog.InvalidArgumentError):
        store.once("o-4", lambda: b"x" * (1 << 21))
    assert store.claims() == [] and "o-4" not in store


def test_wrong_options_are_refused(store):
    for wrong in ({"lease": 0}, {"lease": -1}, {"max_runtime": 0}):
        with pytest.raises(oncelog.InvalidArgumentError):
            store.once("o-5", never, **wrong)
    with pytest.raises(oncelog.InvalidArgumentError, match="within its own function"):
        store.once("o-5", lambda: store.once("o-5", never).result)


def test_another_payload_and_another_worker(store):
    store.once("o-6", lambda: "a", fingerprint=7)
    assert store.once("o-6", never, fingerprint=8).verdict is Verdict.CONFLICT
    with store.begin("o-7", lease=3600):
        assert store.once("o-7", never, patience=0)[:2] == (Verdict.IN_PROGRESS, False)
        assert store.once("o-7", never, patience=0.3)[:2] == (Verdict.IN_PROGRESS, False)


def test_a_run_that_has_lost_its_id_says_so(store):
    def lose():
        store.release("o-8")
        return "dropped"

    assert store.once("o-8", lose) == (Verdict.IN_PROGRESS, True, b"", 0)
    assert "o-8" not in store


def test_threads_wait_for_the_one_that_runs(store):
    entered, go = threading.Event(), threading.Event()
    runs, answers = [], []

    def work():
        runs.append(1)
        entered.set()
        go.wait()
        return "once"

    threads = [threading.Thread(target=lambda: answers.append(store.once("o-9", work, patience=600))) for _ in range(3)]
    for thread in threads:
        thread.start()
    entered.wait()
    go.set()
    for thread in threads:
        thread.join()
    assert runs == [1] and [a.result for a in answers] == [b"once"] * 3
    assert sorted(a.verdict for a in answers) == [Verdict.FRESH] + [Verdict.DUPLICATE] * 2


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_get_the_result_of_one_of_them(method, store):
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    children = [context.Process(target=work_of_children.once, args=(store, answers)) for _ in range(2)]
    for child in children:
        child.start()
    got = [answers.get(timeout=120) for _ in children]
    for child in children:
        child.join()
        assert child.exitcode == 0
    assert len({results for _, results in got}) == 1
    assert sum(runs for runs, _ in got) == 20


def test_a_lease_is_renewed_while_the_function_runs(store):
    def wait():
        await_renewal(store)
        return "done"

    assert store.once("o-10", wait, lease=BRIEF).verdict is Verdict.FRESH
    assert store.once("o-11", lambda: str(store.wait_until_free("o-11", 600)), lease=0.05, keep_alive=False).result == b"True"


def test_a_claim_is_kept_alive(store):
    claim = store.begin("o-12", lease=BRIEF)
    assert claim.keep_alive(3600)
    await_renewal(store)
    assert claim.keep_alive(0.001) and store.wait_until_free("o-12", 600)
    claim.abandon()
    assert not claim.keep_alive(5)
    with pytest.raises(oncelog.InvalidArgumentError):
        store.begin("o-13", lease=5).keep_alive(0)


def test_a_child_that_is_forked_within_marks_nothing(store):
    pids = []

    def fork():
        pids.append(os.fork())
        return "parent's"

    try:
        answer = store.once("o-14", fork)
    except oncelog.ForkedError:
        os._exit(7)
    assert pids[0] != 0 and answer.result == b"parent's"
    assert os.WEXITSTATUS(os.waitpid(pids[0], 0)[1]) == 7
