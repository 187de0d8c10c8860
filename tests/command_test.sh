#!/usr/bin/env bash
# The oncelog command as its users run it: real pipes, files, signals and processes.
#   command_test.sh ONCELOG ONCELOG-SAMPLE SOURCE-FOLDER STOPPED-WRITER
set -euo pipefail
export LC_ALL=C

oncelog=$(realpath "$1")
sample=$(realpath "$2")
source_folder=$(realpath "$3")
stopped_writer=$(realpath "$4")
lines=1000000
[[ ${ONCELOG_TEST_SCALE:-} != small ]] || lines=100000

source "$(dirname "$0")/command/lib.sh"

# ---- Like awk, across runs

seed=$RANDOM
echo "seed $seed, $lines lines"
python3 - "$lines" "$seed" >input.txt <<'PYTHON'
import random, sys
lines, seed = int(sys.argv[1]), int(sys.argv[2])
random.seed(seed)
odd = [b"", b" ", b"\r", b"a\r", b"\xff\xfe", b"x" * 1024, b"x" * 1025, b"x" * 1026, b"y" * 5000, b"z" * 300000]
rare = [b"q" * 1000000, b"q" * 999999]
out = sys.stdout.buffer
for number in range(lines):
    if number % 97 == 0:
        line = random.choice(odd[:-1])
    elif number % (lines // 10) == 5:
        line = random.choice(odd + rare)
    else:
        line = b"%036x" % random.randrange(lines * 6 // 10)
    out.write(line + b"\n")
out.write(b"no newline at the end")
PYTHON
awk '!seen[$0]++' input.txt >wanted.txt
awk 'seen[$0]++' input.txt >wanted-duplicates.txt
fresh=$(wc -l <wanted.txt)
total=$(wc -l <wanted-duplicates.txt)
total=$((total + fresh))

exits "first run" 0 "$oncelog" filter --store like-awk --duplicates duplicates.txt <input.txt
same_file "filter passes what awk passes" wanted.txt out
same_file "--duplicates keeps what awk drops" wanted-duplicates.txt duplicates.txt
summary "first run" "$total lines, $fresh fresh, $((total - fresh)) duplicates"

exits "second run" 0 "$oncelog" filter --store like-awk <input.txt
same "a second run passes nothing" 0 "$(wc -c <out)"
summary "second run" "$total lines, 0 fresh, $total duplicates"

exits "through a pipe" 0 "$oncelog" filter --store like-awk --scope other --ack disk < <(cat input.txt)
same_file "another scope has seen nothing, and --ack disk passes the same" wanted.txt out

exits "--quiet" 0 "$oncelog" filter --store like-awk --quiet <input.txt
same "--quiet: standard error" "" "$(cat err)"

printf '\n\nlast' >short.txt
exits "an empty line is a line" 0 "$oncelog" filter --store empty <short.txt
same_file "an empty line is passed once, and the last line gets its newline" <(printf '\nlast\n') out
printf 'a\0b\na\0c\na\0b\n' >short.txt
exits "NUL" 0 "$oncelog" filter --store empty <short.txt
same_file "NUL is a byte like any" <(printf 'a\0b\na\0c\n') out
exits "no input" 0 "$oncelog" filter --store empty </dev/null
summary "no input" "0 lines, 0 fresh, 0 duplicates"

awk 'length($0) == 36 && NR <= 100000' input.txt >plain.txt
for copy in 1 2 3; do
  "$oncelog" filter --store together --quiet <plain.txt >together-$copy.txt &
done
wait
same_file "of three filters at once, one passes each line" <(sort -u plain.txt) <(sort together-?.txt)

# ---- Where the id is

printf '%s\n' '  k1  v1' $'\tk1 v2' 'k2' '' '   ' 'k2	v1' >fields.txt
exits "--field 1" 0 "$oncelog" filter --store fields --scope one --field 1 <fields.txt
same_file "fields between runs of blanks" <(printf '%s\n' '  k1  v1' 'k2' '' '   ') out
summary "--field 1" "6 lines, 2 fresh, 2 duplicates, 2 without an id (passed on)"
exits "--field 2" 0 "$oncelog" filter --store fields --scope two --field 2 --on-error drop <fields.txt
same_file "--on-error drop" <(printf '%s\n' '  k1  v1' $'\tk1 v2') out
summary "--field 2" "6 lines, 2 fresh, 1 duplicates, 3 without an id (dropped)"
exits "--on-error fail" 2 "$oncelog" filter --store fields --scope three --field 2 --on-error fail <fields.txt
same_file "the lines before the one without an id are passed" <(printf '%s\n' '  k1  v1' $'\tk1 v2') out
summary "--on-error fail" "2 lines, 2 fresh, 0 duplicates"
same "--on-error fail names the line" 1 "$(grep -c '^oncelog: line 3 of standard input has no id' err)"

printf '%s\n' 'a,,1' 'b,x,1' 'a,x,2' 'c' 'b,y' >fields.txt
exits "--delimiter" 0 "$oncelog" filter --store fields --scope comma --field 2 --delimiter , <fields.txt
same_file "an empty field is no id" <(printf '%s\n' 'a,,1' 'b,x,1' 'c' 'b,y') out
summary "--delimiter" "5 lines, 2 fresh, 1 duplicates, 2 without an id (passed on)"
tr , '\t' <fields.txt >tabs.txt
exits "--delimiter tab" 0 "$oncelog" filter --store fields --scope tab --field 1 --delimiter '\t' <tabs.txt
same_file "--delimiter takes the escape for a tab" <(printf 'a\t\t1\nb\tx\t1\nc\n') out

cat >envelopes.ndjson <<'NDJSON'
{"envelope":{"messageId":"a"},"n":1}
{"n":2,"envelope":{"x":[1,{"messageId":"b"}],"messageId":"a"}}
{"envelope":{"messageId":"\u0061"},"n":3}
{"envelope":{"messageId":7}}
{"envelope":{"messageId": 7 }}
{"envelope":{"messageId":"7"}}
{"envelope":{"messageId":7.0}}
{"envelope":{"messageId":true}}
{"envelope":{"messageId":null}}
{"envelope":{"messageId":{}}}
{"envelope":{"messageId":""}}
{"envelope":{}}
{"envelope":{"messageId":"b"
{"envelope":{"messageId":7x}}
{"envelope":{"messageId":trues}}
not json

{"envelope":{"messageId":"A\nB"}}
{"envelope":{"messageId":"A\u000aB"}}
NDJSON
exits "--json-pointer" 0 \
  "$oncelog" filter --store json --json-pointer /envelope/messageId --on-error drop <envelopes.ndjson
same_file "JSON strings, numbers by value, and booleans are ids" <(sed -n '1p;4p;8p;18p' envelopes.ndjson) out
summary "--json-pointer" "19 lines, 4 fresh, 6 duplicates, 9 without an id (dropped)"
exits "a number's id by itself" 0 "$oncelog" check --store json 7 true
printf '%s\n' 9007199254740992 9007199254740993 9007199254740993.0 -0 0 01 1e0 1 1.0 null '"1"' >numbers.txt
exits "numbers" 0 "$oncelog" filter --store json --scope numbers --json-pointer "" --on-error drop <numbers.txt
same "large numbers are told apart, equal ones are one id" "9007199254740992 9007199254740993 -0 1e0" \
  "$(paste -sd' ' out)"
exits "torn and glued lines" 0 "$oncelog" filter --store json --scope torn --json-pointer /id < <(
  printf '%s\n' '{"id":"a","b":[{"c":1},{"d":2}' '{"id":"a","b":[]}' '{"id":"a"} {"id":"b"}' '{"id":"b"}' \
    '{"i\u0064":"b"}' '{"id":"a","id":"c"}' '{"id":"c"}' $'{"id":"c","x":"\xff"}' $'\xef\xbb\xbf{"id":"c"}'
)
summary "torn and glued lines" "9 lines, 3 fresh, 3 duplicates, 3 without an id (passed on)"
printf '%s\n' '{"a/b":{"~":["x","y"]}}' '{"a/b":{"~":["z","y"]}}' '{"a/b":{"~":["z","x"]}}' >escapes.ndjson
exits "escapes" 0 "$oncelog" filter --store json --scope escapes --json-pointer /a~1b/~0/1 <escapes.ndjson
same_file "~0, ~1 and array positions in a JSON pointer" <(sed -n '1p;3p' escapes.ndjson) out

printf '%s\n' 'a,"x,1",n1' '"a","x,1",n2' '"b","say ""x""' 'and more",n3' 'a,"x,1",n1' >records.csv
exits "--csv" 0 "$oncelog" filter --store csv --csv --field 2 <records.csv
same_file "quotes do not count in a CSV field, and a newline in them ends no record" <(sed -n '1p;3,4p' records.csv) out
summary "--csv" "4 lines, 2 fresh, 2 duplicates"
printf 'a,1\r\nb,1\r\nb,"1"\n' >records.csv
exits "--csv with carriage returns" 0 "$oncelog" filter --store csv --csv --field 2 --scope returns <records.csv
same "the last field of a CSV record has no carriage return" 1 "$(wc -l <out)"
printf '\xef\xbb\xbf"two\nlines",n1\n"two\nlines",n2\nx,n3\n\xef\xbb\xbfx,n4\n' >records.csv
exits "--csv with byte order marks" 0 "$oncelog" filter --store csv --csv --field 1 --scope marks <records.csv
same_file "a byte order mark is no part of a CSV field" <(sed -n '1,2p;5p' records.csv) out
printf 'a;1\n"never closed;2\na;1\n' >records.csv
exits "--csv, an open quote" 0 "$oncelog" filter --store csv --csv --field 1 --delimiter ';' --scope open <records.csv
same_file "a quote that is never closed loses nothing" records.csv out
summary "--csv, an open quote" "2 lines, 1 fresh, 0 duplicates, 1 without an id (passed on)"
printf 'a;1\na;"never closed\nb;2\nc;3\n' >records.csv
exits "--csv, an open quote after an id that is known" 0 \
  "$oncelog" filter --store csv --csv --field 1 --delimiter ';' --scope open-behind <records.csv
same_file "a quote that is never closed is not dropped with the id before it" records.csv out
summary "--csv, an open quote after an id that is known" "2 lines, 1 fresh, 0 duplicates, 1 without an id (passed on)"

printf 'a\nb\0a\0a\nb\0last' >nul.txt
exits "-z" 0 "$oncelog" filter --store nul -z --duplicates nul-duplicates.txt <nul.txt
same_file "lines that end with NUL" <(printf 'a\nb\0a\0last\0') out
same_file "duplicates that end with NUL" <(printf 'a\nb\0') nul-duplicates.txt
exits "check -z" 1 "$oncelog" check --store nul -z < <(printf 'a\nb\0new\n\0')
same_file "answers that end with NUL" <(printf 'known a\nb\0unknown new\n\0') out
exits "mark --null" 0 "$oncelog" mark --store nul --null < <(printf 'a\0b c\0')
same_file "mark --null" <(printf 'duplicate a\0fresh b c\0') out
refuses "-z and --csv" "see oncelog filter --help" "$oncelog" filter --store new -z --csv --field 1

printf '%s\n' '{"o":"17","n":2}' '{"o":"1","n":72}' '{"o":17,"n":2.0}' '{"o":"17"}' >composite.ndjson
exits "two pointers" 0 "$oncelog" filter --store composite --json-pointer /o --json-pointer /n --on-error drop \
  <composite.ndjson
same_file "an id of two values" <(head -n 2 composite.ndjson) out
exits "an id of two values can be asked for" 0 "$oncelog" check --store composite 2:17,1:2, 1:1,2:72,
exits "two fields" 0 "$oncelog" filter --store composite --scope fields --field 3 --field 1 < <(
  printf '%s\n' 'a - b' 'b - a' 'a x b'
)
same "an id of two fields" "a - b b - a" "$(paste -sd' ' out)"

"$sample" --messages 600 >made.ndjson
same_file "the sample in the repository is what the generator makes" "$source_folder/tools/sample.ndjson" made.ndjson
exits "sample" 0 "$oncelog" filter --store json --scope sample --json-pointer /envelope/messageId <made.ndjson
python3 -c '
import json, sys
seen = set()
for line in sys.stdin:
    id = json.loads(line)["envelope"]["messageId"]
    if id not in seen: print(line, end="")
    seen.add(id)' <made.ndjson >wanted.txt
same_file "of each message in the sample, the first delivery is passed" wanted.txt out

# ---- The ends of a run

codes=()
seq 1000000 | "$oncelog" filter --store pipe 2>err | head -n 1 >out || codes=("${PIPESTATUS[@]}")
same "a closed pipe ends a filter as it ends others" "141 1" "${codes[1]:-0} $(cat out)"
marked=$(sed -nE 's/^oncelog: [0-9]+ lines, ([0-9]+) fresh, .*; [0-9]+ more are not marked, though some.*/\1/p' err)
checks=$((checks + 1))
[[ -n $marked && $marked -lt 100000 ]] || fail "a closed pipe: the summary is '$(cat err)'"
seq 1000000 | "$oncelog" filter --store pipe --quiet >out
same_file "after a closed pipe the lines that were not written are fresh" <(seq $((marked + 1)) 1000000) out

# What is written to a file ends at a line's end, always.
printf 'old entry' >appended.txt
exits "a file that lacks its last newline" 0 "$oncelog" filter --store append --duplicates appended.txt \
  < <(printf 'x\nx\n')
same_file "what is appended is a line of its own" <(printf 'old entry\nx\n') appended.txt
printf 'old' >appended.txt2
printf 'y\ny\n' | "$oncelog" filter --store append --quiet >>appended.txt2
printf 'z' >>appended.txt2
"$oncelog" check --store append y >>appended.txt2
same_file "standard output that is appended to" <(printf '%s\n' old y z 'known y') appended.txt2
awk 'BEGIN { for (i = 0; i < 5000; ++i) printf "%d %0600d\n", i % 4000, i % 4000 }' >limited.txt
# The limit is the store's as well, and its file stays far below.
exits "a file that may not grow" 2 \
  bash -c 'ulimit -f 1024; exec "$0" filter --store append --scope limit --field 1 <limited.txt >>limit.out' "$oncelog"
same "and it is told" 1 "$(grep -c '^oncelog: cannot write to standard output: File too large' err)"
kept=$(wc -l <limit.out)
exits "once it may" 0 \
  bash -c '"$0" filter --store append --scope limit --field 1 --quiet <limited.txt >>limit.out' "$oncelog"
same_file "no line is torn, lost or repeated ($kept before)" <(head -n 4000 limited.txt) limit.out
for copy in 1 2 3; do
  "$oncelog" filter --store append --scope $copy --quiet <plain.txt >>appended-together.txt &
done
wait
same "filters that append to one file" "$(awk '{ print 3, $0 }' <<<"$(sort -u plain.txt)" | cksum)" \
  "$(sort appended-together.txt | uniq -c | awk '{ print $1, $2 }' | cksum)"
refuses "duplicates to standard output" "--duplicates: '-' would mix" "$oncelog" filter --store new --duplicates -
for file in same.txt /dev/stdout; do
  exits "duplicates to standard output by a name" 2 \
    bash -c '"$0" filter --store new --duplicates "$1" >same.txt' "$oncelog" $file
  same "duplicates to standard output by a name" 1 "$(grep -c "^oncelog: --duplicates: '$file' is standard output" err)"
done
exits "duplicates to /dev/null, as the rest" 0 \
  bash -c '"$0" filter --store append --duplicates /dev/null >/dev/null' "$oncelog" </dev/null
exits "duplicates to a pipe" 0 bash -c '"$0" filter --store append --scope pipe --duplicates >(cat >piped.txt); wait $!' \
  "$oncelog" <<<$'x\nx'
same "a pipe gets the duplicates" x "$(cat piped.txt)"
# What comes back as input has no end, so that these would fill the disk.
printf 'a\na\n' >own.txt
refuses "duplicates to the file that is read" "--duplicates: 'own.txt' is the file that is read" \
  timeout 20 "$oncelog" filter --store new --duplicates own.txt <own.txt
exits "standard output to the file that is read" 2 \
  bash -c 'timeout 20 "$0" filter --store new --field 2 <own.txt >>own.txt' "$oncelog"
same "standard output to the file that is read" 1 "$(grep -c "^oncelog: standard output is the file that is read" err)"
same_file "a file that is refused stays as it is" <(printf 'a\na\n') own.txt
exits "a file named -" 0 "$oncelog" filter --store append --duplicates ./- <<<x
same_file "a file named -" <(echo x) ./-

# While anything is being opened, the first signal ends the command.
mkfifo never-open
ignored=$((16#$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status))) # As nohup makes SIGHUP, for all that it starts.
for signal in TERM INT HUP; do
  if ((ignored >> ($(kill -l "$signal") - 1) & 1)); then continue; fi
  for command in "filter --store opening --duplicates never-open" "topics lint never-open"; do
    read -ra words <<<"$command"
    code=0
    set -m
    "$oncelog" "${words[@]}" </dev/null 2>err &
    job=$!
    set +m
    until [[ $(<"/proc/$job/stat") == *") S "* ]]; do :; done # It waits for the pipe's other end.
    kill -"$signal" "$job"
    wait "$job" || code=$?
    same "SIG$signal while ${words[0]} opens a file" $((128 + $(kill -l "$signal"))) "$code"
  done
done

for signal in TERM INT; do
  code=143
  [[ $signal == TERM ]] || code=130
  start signals --scope "$signal"
  printf 'one\ntwo\none\nhalf' >&7
  next_line "SIG$signal: first line" one
  next_line "SIG$signal: second line" two
  printf ' of a line\nhalf' >&7
  next_line "SIG$signal: a line in two parts" "half of a line"
  kill -"$signal" "$job"
  ended "SIG$signal on a waiting filter" "$code"
  summary "SIG$signal" "4 lines, 3 fresh, 1 duplicates"
  exits "after SIG$signal" 1 "$oncelog" check --store signals --scope "$signal" one two half
  same_file "what SIG$signal left unread is not marked" <(printf '%s\n' 'known one' 'known two' 'unknown half') out
done

same "a parent sees the signal, not an exit code" -15 "$(python3 -c '
import subprocess, sys
pipe = subprocess.PIPE
job = subprocess.Popen([sys.argv[1], "filter", "--store", "signals", "--quiet"], stdin=pipe, stdout=pipe)
job.stdin.write(b"line\n")
job.stdin.flush()
job.stdout.readline()
job.terminate()
print(job.wait())' "$oncelog")"

rm -f output
mkfifo output
"$oncelog" filter --store signals --scope busy < <(yes) >output 2>err &
job=$!
exec 7>/dev/null 8<output
next_line "a busy filter" y
kill -TERM "$job"
ended "SIGTERM on a filter whose input never pauses" 143

exits "a full disk" 2 sh -c '"$0" filter --store full <short.txt >/dev/full' "$oncelog"
same "a full disk is told in a sentence" 1 \
  "$(grep -c '^oncelog: cannot write to standard output: No space left on device' err)"
summary "a full disk" "0 lines, 0 fresh, 0 duplicates; 2 more are not marked, though some may have been written"
exits "no standard output" 2 sh -c 'exec "$0" filter --store closed <short.txt >&-' "$oncelog"
exits "no standard input" 2 sh -c 'exec "$0" filter --store closed <&-' "$oncelog"
exits "a store opened without standard descriptors is whole" 0 "$oncelog" mark --store closed id

# ---- No line is lost, and none is passed twice but what a killed run had in hand

# What each run of some filters has written, in the files OUT.N and OUT.N.killed. Together it is exactly the lines of
# WANTED, and but for the last 1024 lines of the killed runs each of them once.
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

sort -u plain.txt >wanted.txt
python3 - "$oncelog" "$seed" <<'PYTHON'
import os, random, subprocess, sys
oncelog, seed = sys.argv[1:]
random.seed(seed)

def killed_run(out, store, scope, most_bytes):
    """Kills a filter of plain.txt after some bytes of output, or at its end. Returns whether it came to that."""
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
"$0" filter --store small/store --expected-ids 1000 <"$1" >small.1.killed 2>err || code=$?
echo "$code" >small-code
mount -o remount,size=1g small
"$0" filter --store small/store --quiet <"$1" >small.2
SH
mkdir small
awk -v lines=$((lines * 3 / 2 + 100000)) 'BEGIN { while (++n <= lines) printf "%036d\n", n }' >numbers.txt
if unshare -rm mount -t tmpfs tmpfs small 2>/dev/null; then
  unshare -rm bash -c "$(cat full-disk.sh)" "$oncelog" numbers.txt || fail "a filter on a full disk, and after"
  same "a filter whose disk gets full ends with an error" 2 "$(cat small-code)"
  same "and says so" 1 "$(grep -c '^oncelog: .*\(full\|No space left\)' err)"
  checks=$((checks + 1))
  [[ -s small.1.killed && -s small.2 ]] || fail "the disk did not get full in the middle of the run"
  runs "a full disk: no line is lost" small numbers.txt
else
  echo "NOT CHECKED: a full disk, because mounts are not permitted here"
fi

# blocked N OUTPUT: a filter in the background that stops in a write, with 1024 claims; job is its process
blocked() {
  rm -f "$2"
  mkfifo "$2"
  seq -f "$1-%060.0f" 3000 >"long-$1.txt"
  "$oncelog" filter --store blocked --quiet <"long-$1.txt" >"$2" &
  job=$!
}
# claimed COUNT: waits until so many claims are held
claimed() {
  until [[ $("$oncelog" claims --store blocked 2>/dev/null | wc -l) == "$1" ]]; do :; done
}
blocked 0 output-0
exec 8<output-0
claimed 1024
same "a claim's owner" "$job alive" "$("$oncelog" claims --store blocked | awk 'NR == 1 { print $2, $3 }')"
{ echo mine; seq -f "0-%060.0f" 1200 1200; echo after; } >two.txt
"$oncelog" filter --store blocked --quiet <two.txt >waited &
waiting=$!
until [[ -s waited ]]; do :; done
same "what is in hand elsewhere is waited for, after what comes before it" mine "$(cat waited)"
kill -TERM "$waiting"
code=0
wait "$waiting" || code=$?
same "SIGTERM on a filter that waits for another" 143 "$code"
exits "what SIGTERM left is not marked" 1 "$oncelog" check --store blocked --quiet after
"$oncelog" filter --store blocked --quiet <two.txt >waited &
waiting=$!
kill -9 "$job"
wait "$waiting"
same_file "a death frees what was claimed" <(tail -n 2 two.txt) waited
exec 8<&-

for ((i = 1; i <= 32; ++i)); do
  blocked $i output-$i
  exec {reader}<"output-$i"
  [[ $i != 1 ]] || first=$reader
done
claimed 32768
echo one more >one.txt
"$oncelog" filter --store blocked <one.txt >waited &
waiting=$!
cat <&"$first" >freed
wait "$waiting"
same "a filter works when all claims that a store can hold were held" "one more" "$(cat waited)"
same "a filter that was kept waiting goes on" 3000 "$(wc -l <freed)"
jobs -p | xargs -r kill -9 2>/dev/null || true # One has ended by itself.
wait
rm -rf blocked # Claims of the dead stay listed until someone wants them.

# ---- mark, check, dump, stat

exits "mark" 0 "$oncelog" mark --store marks a b a
same_file "mark says what was fresh" <(printf '%s\n' 'fresh a' 'fresh b' 'duplicate a') out
exits "mark from standard input" 0 "$oncelog" mark --store marks --ack disk - < <(printf 'b\nc')
same_file "mark reads lines" <(printf '%s\n' 'duplicate b' 'fresh c') out
refuses "an id in brackets" "would be taken for a list" "$oncelog" mark --store marks '[a,b]'
refuses "an id in brackets after an option with =" "would be taken for a list" "$oncelog" mark --store=marks '[a,b]'
refuses "an id in brackets after --" "would be taken for a list" "$oncelog" mark --store marks -- --id '[a,b]'
exits "a value in brackets" 0 "$oncelog" mark --store brackets --quiet --scope '[a,b]' a
refuses "a lock without a command" "no command; write" "$oncelog" lock --store marks name
refuses "a lock's command without --" "'echo' is neither an option nor the lock's name, and stands before --; write" \
  "$oncelog" lock --store marks name echo -n hello
exits "mark --exit-code, all fresh" 0 "$oncelog" mark --store codes --exit-code a b
exits "mark --exit-code, one known" 1 "$oncelog" mark --store codes --exit-code c a
same "mark --exit-code says what was fresh" "fresh c duplicate a" "$(paste -sd' ' out)"
exits "mark without --exit-code" 0 "$oncelog" mark --store codes c a
long=$(printf '%01025d' 0)
exits "a long id as an argument" 0 "$oncelog" mark --store codes --scope long "$long"
for command in check forget release; do
  exits "$command of a long id" $([[ $command == release ]] && echo 1 || echo 0) \
    "$oncelog" $command --store codes --scope long "$long"
  cp out wanted
  "$oncelog" mark --store codes --scope long --quiet "$long"
  exits "$command of a long id in a line" $([[ $command == release ]] && echo 1 || echo 0) \
    "$oncelog" $command --store codes --scope long <<<"$long"
  same_file "$command of a long id is alike from an argument and a line" wanted out
  "$oncelog" mark --store codes --scope long --quiet "$long"
done
exits "mark of a long id in a line" 0 "$oncelog" mark --store codes --scope long <<<"$long"
same "mark of a long id in a line" "duplicate $long" "$(cat out)"
exits "mark --quiet" 0 "$oncelog" mark --store marks --quiet --scope s2 a
same "mark --quiet prints nothing" "" "$(cat out err)"
exits "check, all known" 0 "$oncelog" check --store marks a b c
exits "check, one unknown" 1 "$oncelog" check --store marks a d
same_file "check says what is known" <(printf '%s\n' 'known a' 'unknown d') out
exits "check marks nothing" 1 "$oncelog" check --store marks --quiet d
same "check --quiet prints nothing" "" "$(cat out err)"
exits "check from standard input" 1 "$oncelog" check --store marks < <(printf 'c\nnew\n')
same_file "check reads lines" <(printf '%s\n' 'known c' 'unknown new') out
exits "check in a scope that is not there" 1 "$oncelog" check --store marks --scope nobody a
exits "check of what filter passed" 0 "$oncelog" check --store empty < <(printf 'last\n')

exits "a correlation and a result" 0 "$oncelog" mark --store chains --scope orders --correlation c-1 --result ok o-1
exits "a correlation elsewhere" 0 "$oncelog" mark --store chains --scope mails --correlation c-1 m-1
exits "a mark without" 0 "$oncelog" mark --store chains --scope mails m-2
exits "dump --correlation" 0 "$oncelog" dump --store chains --correlation c-1
same "dump --correlation joins scopes" "orders o-1 c-1 ok, mails m-1 c-1 None" "$(python3 -c '
import json, sys
print(", ".join("{scope} {id} {correlation} {result}".format(**{"result": None, **json.loads(line)})
                for line in sys.stdin))' <out)"
exits "dump --correlation --scope" 0 "$oncelog" dump --store chains --correlation c-1 --scope mails
same "dump --correlation --scope" 1 "$(wc -l <out)"
exits "dump" 0 "$oncelog" dump --store chains --since 1h
same "a record has only the members that it was given" '"id":"m-2","processed_at"' \
  "$(tail -n 1 out | grep -o '"id":"m-2","processed_at":"[^"]*"}$' | cut -d: -f1,2)"

exits "forget" 1 "$oncelog" forget --store chains --scope mails m-2 never
same_file "forget says what it forgot" <(printf '%s\n' 'forgotten m-2' 'unknown never') out
exits "forget a known one" 0 "$oncelog" forget --store chains --scope mails - <<<m-1
exits "a forgotten id is fresh" 0 "$oncelog" mark --store chains --scope mails m-2
same "a forgotten id is fresh" "fresh m-2" "$(cat out)"
exits "dump shows what was forgotten" 0 "$oncelog" dump --store chains
same "dump shows what was forgotten" 2 "$(grep -c '"forgotten":true}$' out)"

before=$(date -u +%FT%T.%6NZ)
exits "mark later" 0 "$oncelog" mark --store marks late $'caf\xc3\xa9"' $'\xff'
exits "dump" 0 "$oncelog" dump --store marks
same "dump has every record" "a b c a late café\" ff" "$(python3 -c '
import json, sys
records = [json.loads(line) for line in sys.stdin.buffer]
assert sorted(records, key=lambda r: r["lsn"]) == records
sys.stdout.buffer.write(" ".join(r.get("id", r.get("id_hex")) for r in records).encode())' <out)"
cut_ids() { sed -E 's/.*"id(_hex)?":"?([^,]*[^",]).*/\2/' out | cut -d'"' -f1 | tr '\n' ' '; }
exits "dump --scope" 0 "$oncelog" dump --store marks --scope s2
same "dump --scope" "a " "$(cut_ids)"
exits "dump --since" 0 "$oncelog" dump --store marks --since "$before"
same "dump --since" 3 "$(wc -l <out)"
exits "dump --until" 0 "$oncelog" dump --store marks --until "$before"
same "dump --until" "a b c a " "$(cut_ids)"
exits "dump --since 1h ago" 0 "$oncelog" dump --store marks --since '1h ago' --until now
same "dump --since 1h ago" 7 "$(wc -l <out)"
exits "dump --since 1h" 0 "$oncelog" dump --store marks --since 1h
same "dump --since 1h" 7 "$(wc -l <out)"
for time in "$(date -u +%FT%T.%NZ -d '1 hour ago')" "$(date --rfc-3339=ns -d '1 hour ago')" \
  "$(date -Ins -d '1 hour ago')" \
  "$(TZ=XST+5:30 date -Is -d '1 hour ago')" "$(TZ=XST-9 date +%FT%T%z -d '1 hour ago')" "$(date -R -d '1 hour ago')" \
  "@$(date +%s.%N -d '1 hour ago')" "$(date -u +%FT%T -d '1 hour ago')"; do
  exits "dump --since $time" 0 "$oncelog" dump --store marks --scope s2 --since "$time"
  same "dump --since $time" 1 "$(wc -l <out)"
  exits "dump --until $time" 0 "$oncelog" dump --store marks --scope s2 --until "$time"
  same "dump --until $time" 0 "$(wc -l <out)"
done
exits "dump --until 1h ago" 0 "$oncelog" dump --store marks --until '1h ago'
same "dump --until 1h ago" 0 "$(wc -l <out)"
codes=()
"$oncelog" dump --store like-awk 2>err | head -n 1 >out || codes=("${PIPESTATUS[@]}")
same "a closed pipe ends dump, in silence" "141 1 0" "${codes[0]:-0} $(wc -l <out) $(wc -l <err)"

exits "stat --json" 0 "$oncelog" stat --store marks --json
same "stat counts the records" "7 86400000" "$(python3 -c '
import json, sys
stat = json.load(sys.stdin)
assert stat["durable"] <= stat["head"] and sum(b["ids"] for b in stat["live_buckets"]) == stat["ids"], stat
assert sum(s["fresh"] for s in stat["scopes"]) == stat["host_records"] == stat["ids"], stat
assert {s["scope"]: s["duplicate"] for s in stat["scopes"]} == {"default": 2, "s2": 0}, stat
assert {s["scope"]: s["known"] for s in stat["scopes"]} == {"default": 5, "s2": 0}, stat
print(stat["ids"], stat["retention_ms"])' <out)"
exits "stat" 0 "$oncelog" stat --store marks
same "stat says the retention" "1d" "$(awk '$1 == "retention" { print $2 }' out)"
same "stat says what has happened in a scope" '"s2": 1 fresh' "$(sed -n 's/^scope *\("s2".*\)/\1/p' out)"

exits "a short retention" 0 "$oncelog" mark --store brief --retention 200ms --ack disk x
until [[ $("$oncelog" mark --store brief x) == "fresh x" ]]; do :; done

# ---- On a store that another process works on

start shared --scope s
echo first >&7
next_line "the other process" first
exits "check beside a filter" 0 "$oncelog" check --store shared --scope s first
exits "mark beside a filter" 0 "$oncelog" mark --store shared --scope s second
printf 'second\nthird\n' >&7
next_line "a mark of another process is seen" third
exits "stat beside a filter" 0 "$oncelog" stat --store shared
exits "dump beside a filter" 0 "$oncelog" dump --store shared
same "dump beside a filter has every record" "first second third " "$(cut_ids)"
exec 7>&-
ended "the end of the input" 0

# ---- Claims and locks

blocked c output-c
exec 8<output-c
claimed 1024
first=$("$oncelog" claims --store blocked | awk 'NR == 1 { print $7 }')
exits "mark of a claimed id" 0 "$oncelog" mark --store blocked "$first"
same "mark of a claimed id" "in_progress $first" "$(cat out)"
exits "claims --json" 0 "$oncelog" claims --store blocked --json
same "claims --json" "$job True free_at_once default $first" "$(head -n 1 out | python3 -c '
import json, sys
print("{process} {alive} {orphans} {scope} {id}".format(**json.load(sys.stdin)))')"
exits "release" 1 "$oncelog" release --store blocked "$first" nothing
same_file "release says what it freed" <(printf '%s\n' "released $first" "unclaimed nothing") out
exits "a released id is fresh" 0 "$oncelog" mark --store blocked "$first"
same "a released id is fresh" "fresh $first" "$(cat out)"
kill -9 "$job"
wait "$job" 2>/dev/null || true
exec 8<&-

lock() { "$oncelog" lock --store locks "$@"; }
exits "a command under a lock" 7 lock nightly -- sh -c 'echo "$ONCELOG_TOKEN $*"; exit 7' x -a '[b]' --
same "a command gets its arguments, and a token" "-a [b] --" "$(cut -d' ' -f2- out)"
first=$(cut -d' ' -f1 out)
exits "the next one" 200 lock nightly -- sh -c 'echo "$ONCELOG_TOKEN"; exit 200'
checks=$((checks + 1))
[[ $(cat out) -gt $first ]] || fail "the token did not grow: $(cat out) after $first"
exits "no such command" 127 lock nightly -- no-such-command
same "no such command" "oncelog: there is no command 'no-such-command'" "$(cat err)"
exits "a command that a signal ends" 143 lock nightly -- sh -c 'kill -TERM $$'

# held OPTION...: a background job under the lock that has the lock once it has written a line, and ends with a signal
held() {
  rm -f output
  mkfifo output
  set -m
  "$oncelog" lock --store locks "$@" nightly -- \
    sh -c 'trap "echo ended; exit 9" TERM INT; echo begun; while :; do sleep 0.05; done' >output 2>err &
  job=$!
  set +m
  exec 8<output
  next_line "a job under a lock" begun
}
held --lease 100ms
exits "a lock that another one has" 75 "$oncelog" lock --store locks --wait 300ms nightly -- touch never
same "a command without its lock is not run" absent "$([[ -e never ]] && echo there || echo absent)"
same "who has it is told" "oncelog: process $job holds the lock 'nightly'" "$(cut -d, -f1 err)"
same "claims shows locks" "$job alive - nightly" "$("$oncelog" claims --store locks | awk '{ print $2, $3, $6, $7 }')"
exits "another lock" 0 lock weekly -- true
kill -TERM "$job"
next_line "a signal reaches the command" ended
code=0
wait "$job" || code=$?
same "the command's own answer to a signal" 9 "$code"
exec 8<&-

held
lock --wait 120s nightly -- echo got it >waited 2>/dev/null &
waiting=$!
kill -9 "$job"
next_line "a command whose lock is gone gets SIGTERM" ended
wait "$job" 2>/dev/null || true
wait "$waiting"
same "a death frees the lock" "got it" "$(cat waited)"
exec 8<&-

same "a host that is killed at any moment ends its command" "60 ended" "$(python3 - "$oncelog" "$seed" <<'PYTHON'
import random, select, subprocess, sys, time
oncelog, seed = sys.argv[1:]
random.seed(seed)
command = 'trap "echo ended; exit" TERM; echo begun; while :; do sleep 0.01; done'
ended = 0
for round in range(60):
    host = subprocess.Popen([oncelog, "lock", "--store", "locks", "--wait", "120s", "early", "--", "sh", "-c", command],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    children = f"/proc/{host.pid}/task/{host.pid}/children"
    while not open(children).read(): pass
    if round % 2: # From the first instruction of the child to the first lines of the command.
        end = time.monotonic() + random.random() * 0.005
        while time.monotonic() < end: pass
    host.kill()
    host.wait()
    # All that has its standard output open is gone once it ends.
    while select.select([host.stdout], [], [], 120)[0]:
        if not host.stdout.read1(): break
    else: sys.exit("the command of a killed host goes on")
    ended += 1
print(ended, "ended")
PYTHON
)"

held --lease 50ms
# One that is stopped in the middle of a flush stops all other writers too, until it goes on: not what is tested here.
until kill -STOP "$job"; timeout 5 "$oncelog" mark --store locks --ack disk --quiet x; do kill -CONT "$job"; done
exits "a lock whose owner stands still" 0 lock --wait 120s nightly -- true
kill -CONT "$job"
next_line "a lock that was lost ends its command" ended
code=0
wait "$job" || code=$?
same "a lock that was lost" 75 "$code"
exec 8<&-

# While a store is closed behind a writer that is stopped within a transaction, the first signal ends a command.
"$oncelog" mark --store stopped --quiet known
"$oncelog" lock --store stopped name -- true
"$stopped_writer" stopped &
writer=$!
until [[ $(<"/proc/$writer/stat") == *") T "* ]]; do :; done

# has_own_effect JOB SIGNAL: the process neither catches nor blocks it
has_own_effect() {
  local masks
  masks=$(sed -nE 's/^Sig(Cgt|Blk):[[:space:]]*/16#/p' "/proc/$1/status" 2>/dev/null | paste -sd'|')
  [[ -n $masks ]] && (((($masks) >> ($(kill -l "$2") - 1) & 1) == 0))
}

# ends_at_once READY COMMAND...: SIGTERM ends the command, whose work is done when READY succeeds
ends_at_once() {
  local ready=$1 code=0 deadline=$((SECONDS + 60))
  shift
  : >out
  set -m
  "$oncelog" "$@" <one.txt >out 2>err &
  job=$!
  set +m
  until $ready && has_own_effect "$job" TERM; do
    [[ $SECONDS -lt $deadline ]] || break
  done
  kill -TERM "$job"
  until ! kill -0 "$job" 2>/dev/null; do
    [[ $SECONDS -lt $deadline ]] || { kill -9 "$job" && break; }
  done
  wait "$job" 2>/dev/null || code=$?
  same "SIGTERM while $1 closes a store that another process writes to" 143 "$code"
}
answered() { [[ -s out ]]; }
forgotten() { ! "$oncelog" check --store stopped --quiet known; }
echo one >one.txt
ends_at_once answered mark --store stopped id
ends_at_once answered filter --store stopped
ends_at_once answered lock --store stopped name -- echo locked
ends_at_once forgotten forget --store stopped known
same "what forget has not told of" "" "$(cat out)"
kill -CONT "$writer"
while kill -0 "$writer" 2>/dev/null; do wait "$writer" || true; done # It also returns because the job has stopped.
exits "what was done before the signal" 0 "$oncelog" check --store stopped id one
exits "lock --help" 0 "$oncelog" lock --help
same "lock --help says what becomes of the command's children" 1 "$(paste -sd' ' out |
  grep -c "Only the command itself gets these signals, not what it has started: that goes on without the lock unless the command ends it\.")"

# ---- topics lint

cat >topics <<'END'
// What the services subscribe to.
orders   order.created
orders   order.deleted

orders	order.*
billing  order.#
{"service":"billing","pattern":"order.*.created","queue":7}
  {"pattern":"","service":"empty"}
empty    #
billing  order.#
audit    #
END
cat >wanted <<'END'
topics:5: 'orders': 'order.*' overlaps 'order.created' in line 2: both get 'order.created'
topics:5: 'orders': 'order.*' overlaps 'order.deleted' in line 3: both get 'order.deleted'
topics:7: 'billing': 'order.*.created' overlaps 'order.#' in line 6: both get 'order.any.created'
topics:9: 'empty': '#' overlaps '' in line 8: both get ''
topics:10: 'billing': 'order.#' repeats line 6: both get 'order'
END
exits "topics lint" 1 "$oncelog" topics lint topics
same_file "topics lint names each pair of a service" wanted out
same "topics lint says nothing else" "" "$(cat err)"
exits "topics lint of standard input" 1 "$oncelog" topics lint - <topics
sed 's/^topics:/standard input:/' wanted >wanted-input
same_file "topics lint of standard input" wanted-input out
exits "topics lint --json" 1 "$oncelog" topics lint --json topics
same "topics lint --json" "overlap 5 2 order.created, overlap 5 3 order.deleted, overlap 7 6 order.any.created,\
 overlap 9 8 , repeat 10 6 order" "$(python3 -c '
import json, sys
print(", ".join("{kind} {line} {earlier_line} {key}".format(**json.loads(line)) for line in sys.stdin))' <out)"
same "topics lint --json has the patterns" \
  '"service":"billing","line":7,"pattern":"order.*.created","earlier_line":6,"earlier_pattern":"order.#"' \
  "$(sed -n 3p out | grep -o '"service".*"earlier_pattern":"[^"]*"')"

printf 's a.*\r\n\r\ns b.#\r\nt a.b' >topics
exits "topics without an overlap" 0 "$oncelog" topics lint topics
same "topics without an overlap" "" "$(cat out err)"
exits "no topics" 0 "$oncelog" topics lint - </dev/null
printf '{"service":"a\\nb","pattern":"\\u001b"}\n{"service":"a\\nb","pattern":"*"}\n' >topics
exits "topics with strange bytes" 1 "$oncelog" topics lint topics
same "topics with strange bytes" "topics:2: 'a\\x0ab': '*' overlaps '\\x1b' in line 1: both get '\\x1b'" "$(cat out)"

# refuses_topic WHAT PATTERN LINE: LINE is the second of a file whose first line is good
refuses_topic() {
  printf 's #\n%s\n' "$3" >topics
  refuses "topics: $1" "$2" "$oncelog" topics lint topics
}
refuses_topic "no pattern" "topics:2: a service without a pattern" "s"
refuses_topic "a word too many" "topics:2: more than SERVICE PATTERN" "s a b"
refuses_topic "broken JSON" "topics:2: begins like JSON, and is not" '{"service":"s","pattern":"a"'
refuses_topic "JSON without a pattern" 'topics:2: JSON without a text "pattern"' '{"service":"s"}'
refuses_topic "JSON with a number" 'topics:2: JSON without a text "pattern"' '{"service":"s","pattern":1}'
refuses_topic "JSON without a service" 'topics:2: JSON without a text "service"' '{"pattern":"a"}'
refuses_topic "an empty service" "topics:2: the service is empty" '{"service":"","pattern":"a"}'
refuses_topic "a long pattern" "topics:2: the pattern has 256 bytes; 255 are possible" "s $(printf '%0256d' 0)"
refuses "no file of topics" "cannot open 'nowhere'" "$oncelog" topics lint nowhere
refuses "a folder of topics" "cannot read \." "$oncelog" topics lint .
refuses "topics of nothing" "see oncelog topics lint --help" "$oncelog" topics lint
refuses "topics without a verb" "see oncelog topics --help" "$oncelog" topics

# ---- What the README shows

awk '/^```sh$/ { ++blocks; next } /^```$/ { inside = 0 } blocks == 2' "$source_folder/README.md" |
  sed '/^```$/,$d' >readme.sh
mkdir readme
printf '%s\n' a b a >readme/ids.txt
printf '{"messageId":"%s"}\n' c d c >readme/messages.ndjson
printf '%s\n' 'orders order.#' 'billing payment.*' >readme/subscriptions.txt
exits "README: the shell block" 0 env PATH="$(dirname "$oncelog"):$PATH" bash -euc "cd readme && source ../readme.sh"
same "README: what filter passes" 'a b {"messageId":"c"} {"messageId":"d"} fresh order-4711 known order-4711' \
  "$(head -n 6 out | tr '\n' ' ' | sed 's/ $//')"
same "README: dump shows all of it" 5 "$(grep -c '^{"lsn"' out)"

# ---- Errors

# Each option of the library that its errors name is an option of the command, by which name they reach its users.
python3 - "$source_folder" >named.txt <<'PYTHON'
import glob, re, sys
options = open(sys.argv[1] + "/include/oncelog/options.h").read()
fields = set(re.findall(r"^  [\w:<>]+(?:<[^;]*>)? (\w+_\w+)(?: =|\{)", options, re.M))
assert {"map_bytes", "allow_foreign_owner", "max_claims", "live_dir"} <= fields, fields
for file in glob.glob(sys.argv[1] + "/src/*.cc"):
    for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', open(file).read()):
        for word in set(re.findall(r"\b\w+\b", text)) & fields:
            # What the command never does: reopen a store otherwise than it has it.
            if word != "read_only": print(word)
PYTHON
[[ $(sort -u named.txt | wc -l) -ge 5 ]] || fail "the library's errors name only $(sort -u named.txt | paste -sd' ')"
"$oncelog" mark --help >help.txt
for option in $(sort -u named.txt); do
  flag=--${option//_/-}
  same "$flag is an option" 1 "$(grep -c -- "^ *$flag " help.txt)"
done
refuses "max_claims by its flag" "--max-claims is 0" "$oncelog" mark --store new --max-claims 0 x
refuses "ring_bytes by its flag" "--ring-bytes is 1000," "$oncelog" lock --store new --ring-bytes 1000 n -- true
refuses "map_bytes by its flag" "--map-bytes is 1, " "$oncelog" check --store marks --map-bytes 1 x
refuses "a store that has the name of an option" "max_bytes: there is no oncelog store" \
  "$oncelog" check --store max_bytes x
refuses "a size that is none" "--map-bytes: '1X' is not a size" "$oncelog" check --store marks --map-bytes 1X x
exits "a size with a unit" 0 "$oncelog" check --store marks --map-bytes 1GiB a

# Root, asked about the store of a service, goes on as that service's user.
if [[ $EUID -eq 0 ]]; then
  chmod 755 "$folder"
  mkdir -m 1777 service
  setpriv --reuid=12345 --regid=12346 --clear-groups "$oncelog" mark --store service/seen --quiet a
  for command in stat dump claims verify "verify --deep" "repair --hints" "check a" "mark b" "forget b" "release b"; do
    read -ra words <<<"$command"
    code=0
    [[ $command != "release b" ]] || code=1
    exits "root's $command on a service's store" $code "$oncelog" "${words[0]}" --store service/seen "${words[@]:1}"
  done
  same "root makes no file of its own in a service's store" "12345 12346" "$(stat -c '%u %g' service/seen/* | sort -u)"
  refuses "a lock, whose command has root's rights" "belongs to user 12345, .* insist with --allow-foreign-owner" \
    "$oncelog" lock --store service/seen name -- true
  exits "--allow-foreign-owner" 0 "$oncelog" lock --store service/seen --allow-foreign-owner name -- true
  # What these make may be where only root can write.
  mkdir -m 700 root
  for command in "backup --store service/seen root/backup" "restore root/backup root/restored" \
    "repair --store service/seen --into root/repaired"; do
    read -ra words <<<"$command"
    refuses "$command of another's" "belongs to user 12345, .* insist with --allow-foreign-owner" "$oncelog" "${words[@]}"
    exits "$command of another's" 0 "$oncelog" "${words[@]}" --allow-foreign-owner
  done
else
  echo "NOT CHECKED: a service's store, because this is not root"
fi

touch a-file
mkdir foreign
touch foreign/thing
for command in check stat dump claims forget release; do
  id=()
  [[ $command == stat || $command == dump || $command == claims ]] || id=(x)
  refuses "$command without a store" "nowhere: there is no oncelog store; correct the path" \
    "$oncelog" "$command" --store nowhere "${id[@]}"
  same "$command creates nothing" absent "$([[ -e nowhere ]] && echo there || echo absent)"
  refuses "$command of a file" "a-file" "$oncelog" "$command" --store a-file "${id[@]}"
done
refuses "a file as a store" "a-file" "$oncelog" filter --store a-file </dev/null
refuses "a folder of something else as a store" "foreign" "$oncelog" mark --store foreign x
refuses "a bad retention" "--retention: '24x' is not a duration" "$oncelog" mark --store new --retention 24x x
refuses "a retention of nothing" "retention" "$oncelog" mark --store new --retention 0s x
refuses "another retention" "marks: .* a retention of 1d, not 1d1h" "$oncelog" mark --store marks --retention 25h x
refuses "years" "--retention: '200y' is not a duration; .* of w, d, h, m, s and ms" \
  "$oncelog" mark --store new --retention 200y x
refuses "an unknown command" "there is no command 'bogus'; see oncelog --help" "$oncelog" bogus --store new
refuses "no name of a store" "--store is empty; name a directory" "$oncelog" mark --store "" x
refuses "a scope that nobody has used" "no scope 'slip' was ever used in this store; it has 'orders', 'mails'" \
  "$oncelog" dump --store chains --scope slip
for file in marks/data.mdb marks/new marks/../marks/./live; do
  refuses "a file for duplicates in the store" "--duplicates: '$file' is inside of the store" \
    "$oncelog" filter --store marks/ --duplicates "$file"
done
refuses "a bad time" "--since: 'yesterday' is not a time" "$oncelog" dump --store marks --since yesterday
refuses "a day that is none" "is not a time" "$oncelog" dump --store marks --since 2026-02-30
"$oncelog" mark --store gaps --quiet known
for command in mark check forget release; do
  refuses "$command of an empty id" "id 2 is empty, and so is none; .* Nothing was done" \
    "$oncelog" $command --store gaps known "" never
  exits "of ids one of which is empty $command does nothing" 1 "$oncelog" check --store gaps known never
  same "of ids one of which is empty $command does nothing" "known known unknown never" "$(paste -sd' ' out)"
  for end in '\n' '\0'; do
    null=()
    [[ $end == '\n' ]] || null=(-z)
    exits "$command of an empty line" 2 "$oncelog" $command --store gaps --scope lines "${null[@]}" \
      < <(printf "one$end${end}never$end")
    same "$command of an empty line answers for those before it" 1 "$(tr "$end" '\n' <out | grep -c '^[a-z]* one$')"
    same "$command of an empty line answers for no other" 1 "$(tr "$end" '\n' <out | wc -l)"
    same "$command of an empty line names it" 1 \
      "$(grep -c '^oncelog: line 2 of standard input is empty, and so has no id; remove it' err)"
  done
done
exits "what comes after an empty line" 1 "$oncelog" check --store gaps --scope lines --quiet never
refuses "two places for the id" "json-pointer" "$oncelog" filter --store new --field 1 --json-pointer /a
refuses "a delimiter without a field" "field" "$oncelog" filter --store new --delimiter ,
refuses "a choice that is none" "--on-error: 'skip' is none of pass" "$oncelog" filter --store new --on-error skip
refuses "field 0" "counted from 1" "$oncelog" filter --store new --field 0
refuses "a pointer that is none" "is not a JSON pointer" "$oncelog" filter --store new --json-pointer a
refuses "an unknown option" "see oncelog mark --help" "$oncelog" mark --store new --no-such-option
refuses "no subcommand" "see oncelog --help" "$oncelog"
refuses "a file for duplicates that cannot be" "nowhere/file" "$oncelog" filter --store new --duplicates nowhere/file
same "a refused command creates no store" absent "$([[ -e new ]] && echo there || echo absent)"
exits "--help" 0 "$oncelog" filter --help
exits "--version" 0 "$oncelog" --version
same "--version" "oncelog 0.1.0" "$(cat out)"
refuses "--version to a full disk" "cannot write to standard output" bash -c '"$0" --version >/dev/full' "$oncelog"

echo "$((checks - failures)) checks passed, $failures failed"
exit $((failures > 0))
