exits "check, all known" 0 "$oncelog" check --store marks a b c
exits "check, one unknown" 1 "$oncelog" check --store marks a d
same_file "check says what is known" <(printf '%s\n' 'known a' 'unknown d') out
exits "check marks nothing" 1 "$oncelog" check --store marks --quiet d
same "check --quiet prints nothing" "" "$(cat out err)"
exits "check from standard input" 1 "$oncelog" check --store marks < <(printf 'c\nnew\n')
same_file "check reads lines" <(printf '%s\n' 'known c' 'unknown new') out
exits "check in a scope that is not there" 1 "$oncelog" check --store marks --scope nobody a
exits "check of what filter passed" 0 "$oncelog" check --store empty < <(printf 'last\n')
