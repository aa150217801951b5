#!/usr/bin/env bash
# install.sh NAME ... - install what tests need besides Python packages, where root, apt, Go and a network are:
#
#   packages    Chromium for the report and the demo; buildah and debootstrap for the images
#   kubernetes  the cluster of tests/cluster (8 minutes on two cores, once per machine)
#   base        the stand-in base image on which the images are built (1 minute, once per machine)
#   mirror      Terraform providers that know their schemas only, from TERRAFORM_MIRROR_TOOL (1 minute, once per machine)
#
# What cannot be installed is named in one line, with the reason, and its tests skip. Ends with 0 all the same.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin  # debootstrap lies there
log=$(mktemp); trap 'rm -f "$log"' EXIT

left_out() { echo "not installed: $1. Its tests will skip. $(tail -n 1 "$log")" >&2; }
is_here() { command -v "$1" >/dev/null; }

packages() {
  local command package missing=()
  is_here chromium || is_here chromium-browser || is_here google-chrome || missing+=(chromium)
  for command in buildah debootstrap; do is_here "$command" || missing+=("$command"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  { [ "$(id -u)" = 0 ] && is_here apt-get; } || { left_out "${missing[*]} (this takes root and apt)"; return; }
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
  "${apt[@]}" update >"$log" 2>&1 || true  # what the machine knows already may do
  for package in "${missing[@]}"; do
    "${apt[@]}" install -y --no-install-recommends "$package" >"$log" 2>&1 || left_out "$package"
  done
}

kubernetes() {
  [ -z "${GREENLIGHT_TEST_KUBECONFIG:-}" ] || return 0
  [ "$(id -u)" = 0 ] || { left_out "a Kubernetes (this takes root)"; return; }
  "$here/cluster/build.sh" >/dev/null 2>"$log" || left_out "a Kubernetes"
}

base() {
  is_here buildah || { left_out "the images' base (this takes buildah)"; return; }
  ! buildah inspect --type image localhost/stand-in-python:bookworm >/dev/null 2>&1 || return 0
  { [ "$(id -u)" = 0 ] && is_here debootstrap; } ||
    { left_out "the images' base (this takes root and debootstrap)"; return; }
  "$here/serving/stand_in_base.sh" >"$log" 2>&1 || left_out "the images' base"
}

mirror() {
  local tool=${TERRAFORM_MIRROR_TOOL:-}
  [ -z "${GREENLIGHT_TERRAFORM_MIRROR:-}" ] || return 0
  [ -x "$tool" ] || return 0  # then terraform downloads its providers by itself
  { is_here terraform && is_here go && is_here npm; } || { left_out "a mirror of Terraform's providers (this takes terraform, Go and npm)"; return; }
  "$tool" "$HOME/.cache/greenlight/terraform-mirror" >/dev/null 2>"$log" || left_out "a mirror of Terraform's providers"
}

[ $# -gt 0 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for name in "$@"; do "$name"; done
exit 0
