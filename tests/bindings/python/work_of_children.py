"""What the children of test_processes.py do; spawned ones import it."""

import os


def mark(store, scope, id, answers):
    """With what was sent or inherited by fork."""
    answers.put((store.mark(id).verdict.name, scope.mark(id).verdict.name, store.contains("parent"), store.name))
    store.sync()


def once(store, answers):
    """Each id once, in the order in which others ask as well: how many were run here, and the results."""
    results = [store.once(f"m-{i}", lambda: str(os.getpid()), patience=600) for i in range(20)]
    answers.put((sum(answer.ran for answer in results), tuple(answer.result for answer in results)))
    store.sync()
