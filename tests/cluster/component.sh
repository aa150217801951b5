#!/usr/bin/env bash
# component.sh STATE start|stop|kill NAME... - the processes of a cluster, by the names in STATE/commands.
#
# start waits for nothing. stop sends SIGTERM, and SIGKILL after 5 s; kill sends SIGKILL at once. Both wait for the end.
# A process is known by its pid and its start time, so a pid that the kernel gave to another is never signalled.

started() { awk '{print $22}' "/proc/$1/stat" 2>/dev/null; }

alive() { # alive NAME
  local pid start
  read -r pid start 2>/dev/null < "$STATE/pids/$1" && [ "$(started "$pid")" = "$start" ] && ! grep -q '^State:.Z' "/proc/$pid/status"
}

ended() { # ended TENTHS PID...: wait for all of them; fails if one is left
  local tenths=$1 pid; shift
  for pid in "$@"; do
    while [ -d "/proc/$pid" ] && ! grep -q '^State:.Z' "/proc/$pid/status" 2>/dev/null; do
      [ $((tenths--)) -gt 0 ] || return 1
      sleep .1
    done
  done
}

start() { # start NAME...: in a session of its own, so that no Ctrl-C meant for a test reaches it
  local name
  for name in "$@"; do
    setsid "$STATE/commands/$name" >>"$STATE/logs/$name.log" 2>&1 </dev/null &
    echo "$! $(started $!)" > "$STATE/pids/$name"
  done
}

stop() { # stop SIGNAL NAME...
  local signal=$1 name pid pids=(); shift
  for name in "$@"; do
    alive "$name" || continue
    read -r pid _ < "$STATE/pids/$name"
    kill -s "$signal" "$pid" 2>/dev/null && pids+=("$pid")
  done
  [ ${#pids[@]} -eq 0 ] || ended 50 "${pids[@]}" || { kill -s KILL "${pids[@]}" 2>/dev/null; ended 50 "${pids[@]}"; }
  for name in "$@"; do rm -f "$STATE/pids/$name"; done
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  [ $# -ge 3 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 2; }
  STATE=$1 verb=$2; shift 2
  case $verb in
    start) start "$@";;
    stop) stop TERM "$@";;
    kill) stop KILL "$@";;
    *) echo "no such verb: $verb" >&2; exit 2;;
  esac
fi
