#!/usr/bin/env bash
# build.sh [NAME ...] - build a real Kubernetes, its node's parts and a bucket, or some of modules/, from pinned Go modules, once.
#
# Prints the folders with the binaries, joined by colons, for $PATH. What is built and what it needs is pinned by
# modules/*/go.mod and go.sum. A folder of the cache is named after the version and a digest of those files, so a
# second call finds it in a few milliseconds, and needs no Go.
#
#   GREENLIGHT_CLUSTER_CACHE   where the binaries stay (default ~/.cache/greenlight/cluster)
#   GREENLIGHT_BUILD_JOBS      packages to compile at once (default: one per core)
#
# Ends with 3 where something is missing that it cannot install.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${GREENLIGHT_CLUSTER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/greenlight/cluster}

install_packages() { # what a node needs besides, from Debian; on other systems it has to be there
  local command missing=()
  local -A packages=([runc]=runc [nft]=nftables [conntrack]=conntrack [ip]=iproute2 [nsenter]=util-linux [openssl]=openssl [curl]=curl
                     ["${CNI_BIN:-/usr/lib/cni}/bridge"]=containernetworking-plugins)
  for command in "${!packages[@]}"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$command" >/dev/null || missing+=("${packages[$command]}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing on this machine: ${missing[*]}" >&2; exit 3
  fi
  echo "installing ${missing[*]}" >&2
  local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -qq)
  local install=("${apt[@]}" install -y --no-install-recommends "${missing[@]}")
  { "${install[@]}" || { "${apt[@]}" update && "${install[@]}"; }; } >/dev/null || { echo "cannot install ${missing[*]}" >&2; exit 3; }
}

version() { # version NAME: of the first module that modules/NAME/go.mod requires
  awk '$1 == "require" && $2 != "(" {print $3; exit}' "$here/modules/$1/go.mod"
}

folder_of() { # folder_of NAME: where the binaries of modules/NAME lie, or will
  local version; version=$(version "$1")
  echo "$cache/$1-${version:+$version-}$(cat "$here/modules/$1/"* | sha256sum | cut -c1-12)"
}

build() { # build NAME: every tool that modules/NAME/go.mod names, or its own main package
  local name=$1 folder partial what=tool flags='-s -w' stamp=k8s.io/component-base/version
  folder=$(folder_of "$name")
  [ ! -d "$folder" ] || return 0
  exec 9>"$cache/$name.lock" && flock 9  # two test runs may want to build at once
  [ ! -d "$folder" ] || return 0
  command -v go >/dev/null || { echo "go is not installed, and $folder is not there" >&2; exit 3; }
  echo "building $name $(version "$name")" >&2
  [ "$name" != pause ] || what=.
  # Without the stamp, /version says v0.0.0-master.
  [ "$name" != kubernetes ] || flags+=" -X $stamp.gitVersion=$(version kubernetes) -X $stamp.gitMajor=1 -X $stamp.gitMinor=$(version kubernetes | cut -d. -f2)"
  [ "$name" != containerd ] || flags+=" -X github.com/containerd/containerd/v2/version.Version=$(version containerd)"
  partial=$(mktemp -d "$folder.XXXXXX")
  (
    cd "$here/modules/$name"
    # Fetches the modules, and fails where they cannot be had or Go is too old for them.
    go list -mod=readonly -deps "$what" >/dev/null || { rm -rf "$partial"; exit 3; }
    CGO_ENABLED=0 go build ${GREENLIGHT_BUILD_JOBS:+-p "$GREENLIGHT_BUILD_JOBS"} -mod=readonly -trimpath -buildvcs=false \
      -ldflags "$flags" -o "$partial/" "$what" || { rm -rf "$partial"; exit 1; }
  )
  [ "$name" != etcd ] || mv "$partial/server" "$partial/etcd"  # its module is called server
  chmod 755 "$partial"
  mv "$partial" "$folder"
}

names=("$@")
[ $# -gt 0 ] || { names=(kubernetes etcd containerd pause fake-gcs-server); install_packages; }
mkdir -p "$cache"
path=
for name in "${names[@]}"; do
  build "$name"
  path+=${path:+:}$(folder_of "$name")
done
echo "$path"
