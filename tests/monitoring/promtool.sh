#!/usr/bin/env bash
# Prints the path of a promtool: the machine's own, or the one of Debian's package, unpacked in a cache and not installed. Ends with 3 where there is none.
set -euo pipefail
command -v promtool && exit 0
cache=${XDG_CACHE_HOME:-$HOME/.cache}/greenlight/promtool
if [ ! -x "$cache/promtool" ]; then
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no promtool, and no apt to bring it" >&2; exit 3; }
  work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
  cd "$work"
  { apt-get download -qq prometheus || { apt-get update -qq && apt-get download -qq prometheus; }; } >/dev/null 2>&1 || { echo "apt could not bring the package prometheus" >&2; exit 3; }
  dpkg-deb -x prometheus_*.deb unpacked
  mkdir -p "$cache"
  mv unpacked/usr/bin/promtool "$cache/promtool.$$" && mv "$cache/promtool.$$" "$cache/promtool"
fi
echo "$cache/promtool"
