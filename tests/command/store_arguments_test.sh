#!/usr/bin/env bash
# The options that all commands on a store share: which stores they refuse, how root works on a store of another user,
# and which settings are none.
#   store_arguments_test.sh ONCELOG SOURCE-FOLDER
set -euo pipefail

oncelog=$(realpath "$1")
source_folder=$(realpath "$2")
source "$(dirname "$0")/lib.sh"

"$oncelog" mark --store marks --quiet a

# Each option of the library that its errors name is an option of the command, whose users read its flag instead.
python3 - "$source_folder" >named.txt <<'PYTHON'
import glob, re, sys
options = open(sys.argv[1] + "/include/oncelog/options.h").read()
fields = set(re.findall(r"^  [\w:<>]+(?:<[^;]*>)? (\w+_\w+)(?: =|\{)", options, re.M))
assert {"map_bytes", "allow_foreign_owner", "max_claims", "live_dir"} <= fields, fields
for file in glob.glob(sys.argv[1] + "/src/**/*.cc", recursive=True):
    for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', open(file).read()):
        for word in set(re.findall(r"\b\w+\b", text)) & fields:
            # It is named when a process opens a store a second time, which the command never does.
            if word != "read_only": print(word)
PYTHON
holds "the library's errors name options: $(sort -u named.txt | paste -sd' ')" "$(sort -u named.txt | wc -l) >= 5"
"$oncelog" mark --help >help.txt
for option in $(sort -u named.txt); do
  flag=--${option//_/-}
  same "$flag is an option" 1 "$(grep -cE -- "^ *$flag( |$)" help.txt)"
done
refuses "max_claims by its flag" "--max-claims is 0" "$oncelog" mark --store new --max-claims 0 x
refuses "ring_bytes by its flag" "--ring-bytes is 1000," "$oncelog" lock --store new --ring-bytes 1000 n -- true
refuses "map_bytes by its flag" "--map-bytes is 1, " "$oncelog" check --store marks --map-bytes 1 x
refuses "a store that has the name of an option" "max_bytes: there is no oncelog store" \
  "$oncelog" check --store max_bytes x
refuses "a size that is none" "--map-bytes: '1X' is not a size" "$oncelog" check --store marks --map-bytes 1X x
exits "a size with a unit" 0 "$oncelog" check --store marks --map-bytes 1GiB a

# Root takes on a service's user to work on that service's store.
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
  # What these make may lie where only root can write.
  mkdir -m 700 root
  for command in "backup --store service/seen root/backup" "restore root/backup root/restored" \
    "repair --store service/seen --into root/repaired"; do
    read -ra words <<<"$command"
    refuses "$command of another's" "belongs to user 12345, .* insist with --allow-foreign-owner" \
      "$oncelog" "${words[@]}"
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
  absent "$command creates nothing" nowhere
  refuses "$command of a file" "a-file" "$oncelog" "$command" --store a-file "${id[@]}"
done
refuses "a file as a store" "a-file" "$oncelog" filter --store a-file </dev/null
refuses "a folder of something else as a store" "foreign" "$oncelog" mark --store foreign x
refuses "a bad retention" "--retention: '24x' is not a duration" "$oncelog" mark --store new --retention 24x x
refuses "a retention of nothing" "retention" "$oncelog" mark --store new --retention 0s x
refuses "another retention" "marks: .* a retention of 1d, not 1d1h" "$oncelog" mark --store marks --retention 25h x
refuses "years" "--retention: '200y' is not a duration; .* of w, d, h, m, s and ms" \
  "$oncelog" mark --store new --retention 200y x

refuses "no name of a store" "--store is empty; name a directory" "$oncelog" mark --store "" x
absent "a refused command creates no store" new
