#!/usr/bin/env bash
# Makes localhost/stand-in-python:bookworm, Debian with its Python, on which images are built where python:3.11-slim-bookworm cannot be pulled.
# Needs root, debootstrap and buildah (1 to 3 minutes). The certificates of this machine go along, for a proxy that signs with its own.
set -euo pipefail
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
debootstrap --variant=minbase --include=ca-certificates,netbase,python3,python3-pip,python3-venv bookworm "$root" >&2
rm -rf "$root"/usr/share/{doc,info,locale,man} "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
ln -s python3 "$root/usr/bin/python"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
container=$(buildah from scratch)
buildah copy --quiet "$container" "$root" / >&2
buildah config --env SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt --cmd python3 "$container"
buildah commit --quiet --rm "$container" localhost/stand-in-python:bookworm
