#!/usr/bin/env bash
# run.sh WORKERS [PYTEST ARGUMENT ...] - run the tests without the marker `alone` on WORKERS processes, then those with it,
# one after another. Fails where either run fails, and where no test was selected at all.
set -uo pipefail
[ $# -gt 0 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
workers=$1; shift
NOTHING=5  # how pytest ends where no test is selected

pytest=("$(dirname "$0")/../.venv/bin/python" -m pytest)
"${pytest[@]}" --numprocesses "$workers" --no-loadscope-reorder -m 'not alone' "$@"; together=$?
"${pytest[@]}" -m alone "$@"; alone=$?

for code in $together $alone; do
  [ "$code" = 0 ] || [ "$code" = $NOTHING ] || exit "$code"
done
[ "$together" = 0 ] || [ "$alone" = 0 ] || exit $NOTHING
