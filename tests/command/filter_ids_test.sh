#!/usr/bin/env bash
# Where in a line `oncelog filter` finds the id: in fields, by JSON pointers, in CSV, and in lines that end with NUL.
#   filter_ids_test.sh ONCELOG ONCELOG-SAMPLE SOURCE-FOLDER
set -euo pipefail

oncelog=$(realpath "$1")
sample=$(realpath "$2")
source_folder=$(realpath "$3")
source "$(dirname "$0")/lib.sh"

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

refuses "two places for the id" "json-pointer" "$oncelog" filter --store new --field 1 --json-pointer /a
refuses "a delimiter without a field" "field" "$oncelog" filter --store new --delimiter ,
refuses "a choice that is none" "--on-error: 'skip' is none of pass" "$oncelog" filter --store new --on-error skip
refuses "field 0" "counted from 1" "$oncelog" filter --store new --field 0
refuses "a pointer that is none" "is not a JSON pointer" "$oncelog" filter --store new --json-pointer a
absent "a refused command creates no store" new
