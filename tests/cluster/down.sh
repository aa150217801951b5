#!/usr/bin/env bash
# down.sh STATE - end a cluster that up.sh started, without a trace: processes (pods too), mounts, network namespaces,
# cgroups, settings of the kernel, and files outside STATE. STATE/logs stays. Safe to repeat.
#
# Signals only processes of this cluster: those in STATE/pids, the shims that name its containerd and what they started,
# and what still runs inside its network namespaces.
set -uo pipefail
[ $# -eq 1 ] || { sed -n '2s/^# //p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin
. "$here/component.sh"
[ -f "$1/netns" ] || { echo "nothing runs in $1"; exit 0; }
STATE=$(cd "$1" && pwd); socket=$STATE/run/containerd.sock
netns=$(cat "$STATE/netns")

descendants() { # descendants PID
  local child
  for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do echo "$child"; descendants "$child"; done
}
shims() { # pids of this cluster's containerd-shim-runc-v2
  local process
  for process in /proc/[0-9]*; do
    [[ $(readlink "$process/exe" 2>/dev/null) == */containerd-shim-runc-v2* ]] || continue
    tr '\0' '\n' 2>/dev/null < "$process/cmdline" | grep -qxF -- "$socket" && echo "${process#/proc/}"
  done
}
end() { # end PID...: SIGTERM, then SIGKILL after 1 s
  [ $# -eq 0 ] || { kill "$@" 2>/dev/null; ended 10 "$@"; } || { kill -s KILL "$@" 2>/dev/null; ended 20 "$@"; }
}

# Nothing may start pods any more.
stop TERM kubelet proxy scheduler controller-manager

# What has to be looked up while it still lives: namespaces by inode, the shims' sockets (those of other clusters lie in
# the same folder), cgroups of the containers.
mapfile -t files < <(awk -v under="$STATE/" 'index($5, under) == 1 && / - nsfs /{print $5}' /proc/self/mountinfo)
inodes=" "; for file in "${files[@]}" "/var/run/netns/$netns"; do inodes+="net:[$(stat -Lc %i "$file" 2>/dev/null)] "; done
mapfile -t sockets < <(grep -rhoE --include=address --include=bootstrap.json '/run/containerd/s/[0-9a-f]+' "$STATE"/run/containerd/io.containerd.*/ 2>/dev/null | sort -u)
mapfile -t shims < <(shims)
mapfile -t pods < <(for shim in "${shims[@]}"; do descendants "$shim"; done)
mapfile -t cgroups < <(for pod in "${pods[@]}"; do cut -d: -f3 "/proc/$pod/cgroup" 2>/dev/null; done | grep -v '^/$' | sort -u)

# Pods, their shims, the node, the control plane, and whoever is left inside.
[ ${#pods[@]} -eq 0 ] || kill -s KILL "${pods[@]}" 2>/dev/null
[ ${#pods[@]} -eq 0 ] || sleep .3  # the shims see them end
end "${shims[@]}"
stop TERM containerd; stop TERM apiserver; stop TERM etcd
left=()
for process in /proc/[0-9]*; do
  inode=$(readlink "$process/ns/net" 2>/dev/null) && [[ $inodes == *" $inode "* ]] && left+=("${process#/proc/}")
done
end "${left[@]}"

# Mounts, innermost first; twice, because they can lie on top of each other.
for _ in 1 2; do
  awk -v under="$STATE/" 'index($5, under) == 1 {print $5}' /proc/self/mountinfo | sort -r | while read -r mount; do
    mount=$(printf '%b' "$mount"); umount "$mount" 2>/dev/null || umount -l "$mount"
  done
done
[ ! -e "/var/run/netns/$netns" ] || ip netns del "$netns"
# `ip netns` keeps its folder mounted on itself; this fails, as it should, while anybody has a namespace there.
umount /var/run/netns 2>/dev/null && rmdir /var/run/netns 2>/dev/null
for group in "${cgroups[@]}"; do
  for root in /sys/fs/cgroup /sys/fs/cgroup/*/; do
    [ -d "$root/$group" ] && find "$root/$group" -depth -type d -exec rmdir {} + 2>/dev/null
    [ "$(dirname "$group")" = / ] || rmdir "$root/$(dirname "$group")" 2>/dev/null
  done
done

# Settings of the kernel, unless another cluster still runs.
saved=/run/greenlight-cluster.sysctl
if [ -e $saved ] && ! compgen -G '/var/run/netns/greenlight-*' >/dev/null; then
  while IFS=' =' read -r name value; do
    [ "$(sysctl -n "$name")" = "$value" ] || sysctl -qw "$name=$value"
  done < $saved
  rm -f $saved
fi

# Files outside STATE: results that libcni keeps, links to logs, the shims' sockets.
for result in /var/lib/cni/results/"$netns"-*-eth0; do
  [ -e "$result" ] || continue
  id=${result##*/"$netns"-}; rm -f "$result" "/var/lib/cni/results/cni-loopback-${id%-eth0}-lo"
done
for link in /var/log/containers/*.log; do
  [[ $(readlink "$link" 2>/dev/null) != "$STATE"/* ]] || rm -f "$link"
done
[ ${#sockets[@]} -eq 0 ] || rm -f "${sockets[@]}"
rm -rf "$STATE"/{pids,certs,etcd,run,kubelet,cni,conf,commands,containerd,pods-logs,kubeconfig,enter,pause.tar,netns}

# Nothing may be left.
code=0
[ -z "$(shims)" ] || { echo "processes are left: $(shims | tr '\n' ' ')" >&2; code=1; }
! grep -qF " $STATE/" /proc/self/mountinfo || { echo "mounts are left below $STATE" >&2; code=1; }
[ ! -e "/var/run/netns/$netns" ] || { echo "the network namespace $netns is left" >&2; code=1; }
exit $code
