#!/usr/bin/env bash
# However `oncelog filter` ends, no line is lost, and only what a killed run held is passed twice.
#   filter_kills_test.sh ONCELOG
set -euo pipefail

oncelog=$(realpath "$1")
source "$(dirname "$0")/lib.sh"

echo "seed $seed, $lines lines"

# What each run of some filters has written, in the files OUT.N and OUT.N.killed. Together they are exactly the lines
# of WANTED, each of them once unless it is among the last 1024 lines of a killed run.
cat >check-runs.py <<'PYTHON'
import glob, sys
out, wanted = sys.argv[1], set(open(sys.argv[2], "rb").read().splitlines())
firm, all_lines, repeats = set(), set(), 0
for name in glob.glob(out + ".*"):
    text = open(name, "rb").read()
    lines = text.splitlines()
    if text and not text.endswith(b"\n"): lines.pop()  # A write that the kill has cut.
    kept = lines[:-1024] if name.endswith(".killed") else lines
    repeats += len(lines) - len(set(lines) - all_lines)
    assert len(set(lines)) == len(lines), name + " has a line twice"
    assert not firm & set(kept), name + " has a line that another run has passed"
    firm |= set(kept)
    all_lines |= set(lines)
lost, strange = len(wanted - all_lines), len(all_lines - wanted)
assert lost == 0 and strange == 0, f"{lost} lines are lost, {strange} are not from the input"
print(f"{len(glob.glob(out + '.*'))} runs, {repeats} lines repeated")
PYTHON

# runs WHAT OUT WANTED
runs() {
  checks=$((checks + 1))
  python3 check-runs.py "$2" "$3" || fail "$1"
}

plain_lines 99000 >plain.txt
sort -u plain.txt >wanted.txt
python3 - "$oncelog" "$seed" <<'PYTHON'
import os, random, subprocess, sys
oncelog, seed = sys.argv[1:]
random.seed(seed)

def killed_run(out, store, scope, most_bytes):
    """Kills a filter of plain.txt after some bytes of output, or at its end. Returns whether it got to the end."""
    bytes_wanted = random.randrange(most_bytes)
    job = subprocess.Popen([oncelog, "filter", "--quiet", "--store", store, "--scope", scope],
                           stdin=open("plain.txt"), stdout=open(out, "wb"))
    while os.path.getsize(out) < bytes_wanted and job.poll() is None: pass
    job.kill()
    ended = job.wait() == 0
    if ended: os.rename(out, out.removesuffix(".killed"))
    return ended

size = os.path.getsize("wanted.txt")
for i in range(30): killed_run(f"kills.{i:02}.killed", "kills", "alone", size // 20)
for round in range(8):
    scope = f"beside{round}"
    beside = subprocess.Popen([oncelog, "filter", "--quiet", "--store", "kills", "--scope", scope],
                              stdin=open("plain.txt"), stdout=open(f"{scope}.steady", "wb"))
    number = 0
    while beside.poll() is None:
        killed_run(f"{scope}.{number:02}.killed", "kills", scope, size // 3)
        number += 1
    assert beside.wait() == 0
PYTHON
"$oncelog" filter --store kills --scope alone --quiet <plain.txt >kills.last
runs "30 times SIGKILL: no line is lost" kills wanted.txt
for round in 0 1 2 3 4 5 6 7; do
  runs "a filter beside one that is killed again and again: no line is lost or passed by both" beside$round wanted.txt
done

cat >full-disk.sh <<'SH'
set -eu
mount -t tmpfs -o size=30m tmpfs small
code=0
"$0" filter --store small/store --expected-ids 1000 <"$1" >small.1.killed 2>full-disk.err || code=$?
echo "$code" >small-code
mount -o remount,size=1g small
"$0" filter --store small/store --quiet <"$1" >small.2
SH
mkdir small
awk -v lines=$((lines * 3 / 2 + 100000)) 'BEGIN { while (++n <= lines) printf "%036d\n", n }' >numbers.txt
if unshare -rm mount -t tmpfs tmpfs small 2>/dev/null; then
  exits "a filter on a full disk, and after" 0 unshare -rm bash -c "$(cat full-disk.sh)" "$oncelog" numbers.txt
  same "a filter whose disk gets full ends with an error" 2 "$(cat small-code)"
  same "a full disk is reported" 1 "$(grep -c '^oncelog: .*\(full\|No space left\)' full-disk.err)"
  holds "the disk got full in the middle of the run" "$(stat -c %s small.1.killed) > 0 && $(stat -c %s small.2) > 0"
  runs "a full disk: no line is lost" small numbers.txt
else
  echo "NOT CHECKED: a full disk, because mounts are not permitted here"
fi
