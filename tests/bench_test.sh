#!/usr/bin/env bash
# What tools/bench runs, with small stores of every peer that was built: the page has all rows, the plots are whole, no
# answer is wrong, and all peers have given as many fresh answers and duplicates.
#   bench_test.sh [BENCH_PEERS]     none where it was not built
set -euo pipefail

program=${1:+$(realpath "$1")}
source "$(dirname "$0")/command/lib.sh"
[[ -n $program ]] || skip "the comparison is not built, because the benchmarks are off"

"$program" --list >peers
sed -n 's/^missing /left out: /p' peers
# So much time that no row ends early.
"$program" --ids=500,2000 --queries=200 --durable=64 --row-ms=100000 --out=out

python3 - >found <<'PY'
import collections, json, re, xml.dom.minidom

results = json.load(open("out/results.json"))
page = open("out/README.md").read()
peers = [line.strip() for line in open("peers") if " " not in line.strip()]
rows = {}
for row in results["rows"]:
    if row["work"] != "curve":
        rows[row["peer"], row["work"], row["ids"]] = row
works = list(dict.fromkeys(work for _, work, _ in rows))

# How many ids there were of, or how quick a peer was, decides on these.
loose = {"disk", "memory", "expiry_marks"}
different = []
for size in (500, 2000):
    for work in works:
        answers = collections.defaultdict(list)
        for peer in peers:
            row = rows[peer, work, size]
            if row["operations"] == 0 or work in loose: continue
            lossy = work == "open_crash" and row["wrong"] == 0
            answers[row["fresh"] + row["duplicate"] if lossy else (row["fresh"], row["duplicate"])].append(peer)
        if len(answers) > 1: different.append(f"{work} with {size} ids: {dict(answers)}")

table = page.split("## 2,000 ids")[1].split("##")[0]
lines = [line for line in table.splitlines() if line.startswith("|")]
print("peers", len(peers))
print("works", len(works))
print("missing_rows", sum((p, w, i) not in rows for p in peers for w in works for i in (500, 2000)))
print("table_rows", len(lines) - 2)
print("wrong_width", sum(line.count("|") != len(peers) + 2 for line in lines))
print("empty_cells", sum(not cell.strip() for line in lines[2:] for cell in line.split("|")[1:-1]))
print("wrong", sum(row["wrong"] for row in results["rows"]))
print("limited", sum(row["limited"] for row in results["rows"]))
print("different", len(different))
print("consumer_fresh", rows["oncelog", "consumer", 2000]["fresh"])
print("known_duplicate", rows["oncelog", "check_known", 2000]["duplicate"])
print("never_fresh", rows["oncelog", "check_fresh", 2000]["fresh"])
print("threads_fresh", rows["oncelog", "threads", 2000]["fresh"])
print("crash_lost", rows["oncelog", "open_crash", 2000]["fresh"] - 1)
for plot, curves in (("latency", 1), ("throughput", len(peers)), ("open", 2)):
    document = xml.dom.minidom.parse(f"out/{plot}.svg")
    lines = [l for l in document.getElementsByTagName("polyline") if len(l.getAttribute("points").split()) > 1]
    print(plot + "_short", max(0, curves - len(lines)))
import sys
print(*different, sep="\n", file=sys.stderr)
PY

count() { awk -v name="$1" '$1 == name { print $2 }' found; }
holds "peers" "$(count peers) >= 3"
holds "kinds of work" "$(count works) == 22"
holds "rows that are not there" "$(count missing_rows) == 0"
holds "lines of the table" "$(count table_rows) == $(count works)"
holds "lines of another width" "$(count wrong_width) == 0"
holds "empty cells" "$(count empty_cells) == 0"
holds "wrong answers" "$(count wrong) == 0"
holds "rows that ended early" "$(count limited) == 0"
holds "rows in which peers differ" "$(count different) == 0"
holds "a consumer's fresh ids" "$(count consumer_fresh) == 190"
holds "duplicates found" "$(count known_duplicate) == 200"
holds "ids that never were" "$(count never_fresh) == 200"
holds "ids of two threads, each tenth the same" "$(count threads_fresh) == 190"
holds "marks that a crash took" "$(count crash_lost) == 0"
for plot in latency throughput open; do holds "curves missing in $plot" "$(count ${plot}_short) == 0"; done
