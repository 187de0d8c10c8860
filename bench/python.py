#!/usr/bin/env python3
"""What Python adds to C++: the same ids marked in new stores by both, in turns, in pieces of 1,000.

Of each round the median piece counts, so that other programs' turns on the processor do not; of the rounds, the median.

    python.py BENCH_PYTHON [FOLDER]     the package oncelog is imported; stores are made in a folder of their own

Exit code: 1 where a bound is broken: a mark costs at most 1 microsecond more than in C++, an id of a batch of 1,000 at
most twice as much.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import oncelog

IDS = 100_000
BATCH = 1_000
ROUNDS = 7


def median_each(ids, work):
    """Nanoseconds an id of `work(piece)`, which returns how many were fresh."""
    each = []
    for i in range(0, IDS, BATCH):
        piece = ids[i : i + BATCH]
        begin = time.perf_counter_ns()
        fresh = work(piece)
        each.append((time.perf_counter_ns() - begin) / BATCH)
        assert fresh == BATCH
    return statistics.median(each)


def in_cpp(program, folder):
    output = subprocess.run([program, folder, str(IDS), str(BATCH)], stdout=subprocess.PIPE, text=True, check=True).stdout
    mark, batch = map(float, output.split())
    return {"mark": mark, "list": batch, "array": batch}


def in_python(folder):
    with oncelog.Store(folder, scope="single", expected_ids=4 * IDS) as store:
        ids = [f"{i:036}" for i in range(IDS)]
        lists, arrays = store.scope("lists"), store.scope("arrays")

        def mark(piece):
            mark_one, fresh = store.mark, oncelog.Verdict.FRESH
            return sum([1 for id in piece if mark_one(id).verdict is fresh])

        def of_list(piece):
            return lists.mark_batch(piece).verdicts.count(oncelog.Verdict.FRESH)

        def of_array(piece):
            return int((arrays.mark_batch(piece).verdicts == 0).sum())

        costs = {"mark": median_each(ids, mark), "list": median_each(ids, of_list)}
        try:
            import numpy
        except ImportError:
            return costs
        costs["array"] = median_each(numpy.array([id.encode() for id in ids]), of_array)
        return costs


def main():
    program = sys.argv[1]
    cpp, python = [], []
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        for number in range(ROUNDS):
            cpp.append(in_cpp(program, pathlib.Path(folder, f"cpp-{number}")))
            python.append(in_python(pathlib.Path(folder, f"python-{number}")))
    broken = False
    print("ns an id                     C++   Python")
    for name, title in (("mark", "mark"), ("list", "batch of 1,000, list"), ("array", "batch of 1,000, numpy")):
        if name not in python[0]:
            continue
        base, ours = (statistics.median(round[name] for round in rounds) for rounds in (cpp, python))
        within = ours <= base + 1000 if name == "mark" else ours <= 2 * base
        broken |= not within
        verdict = "within its bound" if within else "BEYOND ITS BOUND"
        print(f"{title:24}{base:8.0f} {ours:8.0f}   {ours - base:+.0f} ns, {ours / base:.2f} times, {verdict}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
