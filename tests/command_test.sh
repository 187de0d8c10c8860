#!/usr/bin/env bash
# The oncelog command as its users run it: real pipes, files, signals and processes.
#   command_test.sh ONCELOG ONCELOG-SAMPLE SOURCE-FOLDER STOPPED-WRITER
set -euo pipefail

oncelog=$(realpath "$1")
sample=$(realpath "$2")
source_folder=$(realpath "$3")
stopped_writer=$(realpath "$4")
parts=$(realpath "$(dirname "$0")/command")

source "$(dirname "$0")/command/lib.sh"

# In this order: each takes up what those before it have left.
for part in filter filter_ids filter_signals filter_kills filter_claims mark check dump forget stat \
  filter_output shared_store claims release id_batches lock stop_signal topics \
  readme store_arguments main; do
  source "$parts/${part}_test.sh"
done
