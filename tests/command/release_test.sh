exits "release" 1 "$oncelog" release --store blocked "$first" nothing
same_file "release says what it freed" <(printf '%s\n' "released $first" "unclaimed nothing") out
exits "a released id is fresh" 0 "$oncelog" mark --store blocked "$first"
same "a released id is fresh" "fresh $first" "$(cat out)"
kill -9 "$job"
wait "$job" 2>/dev/null || true
exec 8<&-
