#!/usr/bin/env bash
# The completion in bash, zsh and fish, as a user meets it: each line is typed into a shell on a terminal, with Tab.
#   completion_test.sh ONCELOG FOLDER-OF-THE-MANUAL
set -euo pipefail

manual=$(realpath "$2")
tests=$(realpath "$(dirname "$0")")
source "$tests/lib.sh"

mkdir -p store-of-orders bin
printf 'x\n' >subscriptions.txt
# Stands for the command, and notes what it was called with.
printf '#!/bin/sh\necho "$*" >>"%s/got"\n' "$folder" >bin/oncelog
chmod +x bin/oncelog
export PATH="$folder/bin:$PATH"

# What is typed, and below it what the command gets.
cat >typed <<'END'
oncelog fil\t --ack h\t
oncelog topics l\t subs\t
oncelog mark --store store-of\t order-1
oncelog mark --corr\t case-1
oncelog filter --on-error d\t
oncelog filter --scope filter --csv --dup\t subs\t
oncelog restore store-of\t
oncelog lock --wait 1s name -- basena\t x
END
cat >wanted <<'END'
filter --ack host
topics lint subscriptions.txt
mark --store store-of-orders order-1
mark --correlation case-1
filter --on-error drop
filter --scope filter --csv --duplicates subscriptions.txt
restore store-of-orders
lock --wait 1s name -- basename x
END

# completes SHELL ARGUMENT...
completes() {
  rm -f got
  { cat typed; echo exit; } | python3 "$tests/type_keys.py" 'READY> ' "$@" >shown || fail "$1: $(cat shown)"
  touch got
  sed -i 's,/\( \|$\),\1,' got # Zsh takes the slash back when a blank follows.
  same_file "$1 completes: $(diff wanted got || true)" wanted got
}

printf '%s\n' "source '$manual/oncelog'" "PS1='READY> '" >bashrc
completes bash --noprofile --rcfile bashrc -i

if command -v zsh >/dev/null; then
  printf '%s\n' "fpath=('$manual' \$fpath)" "autoload -U compinit" "compinit -u -D" "PS1='READY> '" >.zshrc
  ZDOTDIR=$folder completes zsh --no-global-rcs -i
else
  echo "not tried: zsh, which is not installed"
fi

if command -v fish >/dev/null; then
  # Fish answers without a terminal what it would complete.
  # offers WANTED LINE
  offers() {
    same "fish: $2" "$1" "$(XDG_CONFIG_HOME=$folder/fish HOME=$folder fish --no-config -c \
      "source '$manual/oncelog.fish'; complete -C '$2'" | cut -f1 | sort | paste -sd' ')"
  }
  offers filter "oncelog fil"
  offers "disk host" "oncelog filter --ack "
  offers lint "oncelog topics l"
  offers subscriptions.txt "oncelog topics lint subs"
  offers store-of-orders/ "oncelog mark --store store-of"
  offers --correlation "oncelog mark --corr"
  offers drop "oncelog filter --on-error d"
  offers --duplicates "oncelog filter --scope mark --csv --dup"
  offers store-of-orders/ "oncelog restore store-of"
  offers basename "oncelog lock --wait 1s name -- basena"
else
  echo "not tried: fish, which is not installed"
fi
