#!/usr/bin/env python3
"""What Python adds to C++: the same ids marked in new stores by both, in turns; the best round of each counts.

    python.py BENCH_PYTHON [FOLDER]     the package oncelog is imported; stores are made in a folder of their own

Exit code: 1 where a bound is broken: a mark costs at most 1 microsecond more than in C++, an id of a batch of 1,000 at
most twice as much.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import oncelog

IDS = 100_000
BATCH = 1_000
ROUNDS = 7


def each(work):
    begin = time.perf_counter_ns()
    fresh = work()
    took = time.perf_counter_ns() - begin
    assert fresh == IDS
    return took / IDS


def in_cpp(program, folder):
    output = subprocess.run([program, folder, str(IDS), str(BATCH)], stdout=subprocess.PIPE, text=True, check=True).stdout
    mark, batch = map(float, output.split())
    return {"mark": mark, "list": batch, "array": batch}


def in_python(folder):
    with oncelog.Store(folder, scope="single", expected_ids=4 * IDS) as store:
        ids = [f"{i:036}" for i in range(IDS)]
        lists, arrays = store.scope("lists"), store.scope("arrays")

        def mark():
            return sum(1 for id in ids if store.mark(id))

        def of_list():
            fresh = oncelog.Verdict.FRESH
            parts = (ids[i : i + BATCH] for i in range(0, IDS, BATCH))
            return sum(lists.mark_batch(part).verdicts.count(fresh) for part in parts)

        costs = {"mark": each(mark), "list": each(of_list)}
        try:
            import numpy
        except ImportError:
            return costs
        array = numpy.array([id.encode() for id in ids])

        def of_array():
            parts = (array[i : i + BATCH] for i in range(0, IDS, BATCH))
            return sum(int((arrays.mark_batch(part).verdicts == 0).sum()) for part in parts)

        costs["array"] = each(of_array)
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
        base, ours = min(c[name] for c in cpp), min(p[name] for p in python)
        within = ours <= base + 1000 if name == "mark" else ours <= 2 * base
        broken |= not within
        print(f"{title:24}{base:8.0f} {ours:8.0f}   {ours - base:+.0f} ns, {ours / base:.2f} times", "" if within else "BROKEN")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
