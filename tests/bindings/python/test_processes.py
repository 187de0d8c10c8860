"""Stores in other processes: forked, spawned, of a fork server, of gunicorn."""

import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request

import oncelog
import pytest
import work_of_children
from oncelog import Verdict


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_store_works_in_a_process_started_by(method, store):
    context = multiprocessing.get_context(method)
    billing = store.scope("billing", orphans=oncelog.OrphanPolicy.KEEP)
    store.mark("parent")
    answers = context.Queue()
    child = context.Process(target=work_of_children.mark, args=(store, billing, "child", answers))
    child.start()
    assert answers.get(timeout=120) == ("FRESH", "FRESH", True, "orders")
    child.join()
    assert child.exitcode == 0
    assert store.mark("child").verdict is Verdict.DUPLICATE and "child" in billing


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_pool_marks_each_id_once_with(method, store):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        marked = list(pool.map(store.mark, [f"m-{i % 50}" for i in range(200)]))
    assert sum(m.verdict is Verdict.FRESH for m in marked) == 50
    assert all(store.contains_batch([f"m-{i}" for i in range(50)]))


def in_child(work):
    """Runs in a child of fork() and returns what it wrote, whatever happens to it there."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, repr(work()).encode())
        except BaseException as error:
            os.write(write, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as output:
        answer = output.read()
    assert os.waitpid(pid, 0)[1] == 0
    return answer


def test_every_call_reopens_in_a_child(store):
    scope = store.scope("other")
    store.mark("parent")
    calls = {
        "mark": lambda: store.mark("m").verdict.name,
        "contains": lambda: store.contains("parent"),
        "contains_correlated": lambda: store.contains("parent", correlation="c"),
        "find": lambda: store.find("parent").id,
        "begin": lambda: store.begin("b", lease=30).held,
        "mark_batch": lambda: scope.mark_batch(id for id in ("x", "y")).verdicts == [Verdict.FRESH] * 2,
        "contains_batch": lambda: store.contains_batch(["parent"]),
        "find_batch": lambda: store.find_batch(["parent"])[0].id,
        "begin_batch": lambda: store.begin_batch(["b"], lease=30).verdicts == [Verdict.FRESH],
        "wait_until_free": lambda: store.wait_until_free("b", 0),
        "forget": lambda: store.forget("none"),
        "release": lambda: store.release("none"),
        "scope": lambda: store.scope("third").name,
        "scopes": lambda: len(store.scopes()) >= 2,
        "lock": lambda: store.lock("name", lease=30).held,
        "durable": lambda: store.durable() > 0,
        "wait": lambda: store.wait(store.durable() - 1),
        "sync": lambda: store.sync(),
        "claims": lambda: store.claims(),
        "verify": lambda: store.verify(),
        "metrics": lambda: "oncelog_" in store.metrics(),
        "known_since": lambda: store.known_since().year > 2000,
    }
    wanted = {"mark": "'FRESH'", "contains_correlated": "False", "find": "b'parent'", "find_batch": "b'parent'"}
    wanted.update({"contains_batch": "[True]", "forget": "False", "release": "False", "scope": "'third'"})
    wanted.update({"wait": "None", "sync": "None", "claims": "[]", "verify": "(0, [])"})
    store.sync()
    for name, call in calls.items():
        assert in_child(call) == wanted.get(name, "True"), name


def test_a_grandchild_and_threads_of_a_child_reopen(store):
    def threads():
        verdicts = []
        workers = [threading.Thread(target=lambda: verdicts.append(store.mark("t").verdict)) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return sorted(verdicts) == [Verdict.FRESH] + [Verdict.DUPLICATE] * 7

    assert in_child(threads) == "True"
    assert in_child(lambda: (store.mark("c").verdict.name, in_child(lambda: store.mark("g").verdict.name))) == (
        """('FRESH', "'FRESH'")"""
    )
    assert store.contains_batch(["c", "g", "t"]) == [True] * 3


def test_a_claim_stays_the_parents(store):
    claim, lock, batch = store.begin("m", lease=3600), store.lock("l", lease=3600), store.begin_batch(["n"], lease=3600)
    for use in (claim.complete, lambda: claim.renew(5), lambda: lock.renew(5), batch.complete):
        assert in_child(use).startswith("ForkedError: ")

    def leave():
        with claim:
            raise KeyError

    assert in_child(leave).startswith("KeyError")
    assert in_child(lambda: (claim.abandon(), lock.release(), batch.abandon())) == "(None, None, None)"
    assert claim.complete() and lock.held and batch.complete() == 0
    assert store.contains_batch(["m", "n"]) == [True, True]


def test_a_child_that_has_changed_its_folder_finds_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = oncelog.Store("seen")

    def work():
        os.chdir("/")
        return store.mark("m").verdict.name

    assert in_child(work) == "'FRESH'"
    assert "m" in store


def test_claims_cannot_be_sent(store):
    for held in (store.begin("m", lease=30), store.lock("l", lease=30), store.begin_batch(["n"], lease=30)):
        with pytest.raises(TypeError):
            pickle.dumps(held)


def test_the_workers_of_a_preloaded_gunicorn_share_a_store(path):
    pytest.importorskip("gunicorn")
    folder = path.parent
    (folder / "service.py").write_text(
        textwrap.dedent(
            f"""
            import os
            import oncelog

            store = oncelog.Store({str(path)!r})
            store.mark("loaded")

            def application(environ, start_response):
                start_response("200 OK", [])
                marked = store.mark(environ["PATH_INFO"])
                return [f"{{marked.verdict.name}} {{'loaded' in store}} {{os.getpid()}}".encode()]
            """
        )
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "2"]
    command += ["--bind", f"127.0.0.1:{port}", "service:application"]
    server = subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    try:
        answers = [ask(server, f"http://127.0.0.1:{port}/m-{i % 10}") for i in range(60)]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()
    assert sum(verdict == "FRESH" for verdict, _, _ in answers) == 10
    assert {known for _, known, _ in answers} == {"True"}
    assert str(server.pid) not in {pid for _, _, pid in answers}


def ask(server, url):
    while server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return answer.read().decode().split()
        except urllib.error.URLError as error:  # Not listening yet.
            if not isinstance(error.reason, ConnectionRefusedError):
                raise
            time.sleep(0.01)
    raise AssertionError("gunicorn has ended")
