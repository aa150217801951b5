#!/usr/bin/env bash
# up.sh STATE [IMAGE.tar ...] - start a real Kubernetes of one node in a network namespace of its own. Must be root.
#
#   STATE      folder for its data, logs and kubeconfig; one a cluster, its path short enough for unix sockets
#   IMAGE.tar  OCI archives to import into the node
#
# Control plane, node, pods and the clients all live in that namespace: the interfaces, routes, firewall and ports of the
# machine are not touched, and clusters can run side by side. Afterwards:
#
#   STATE/enter kubectl get pods -A                          any client, inside the namespace
#   STATE/commands/ctr images import --local IMAGE.tar       one more image
#   down.sh STATE                                            the end
#
# There is no DNS and no way out. README.md says what else is not there.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "up.sh must run as root" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin
PATH=$("$here/build.sh"):$PATH
. "$here/component.sh"

mkdir -p "$1"; STATE=$(cd "$1" && pwd); shift
socket=$STATE/run/containerd.sock
[ ${#socket} -lt 100 ] || { echo "$STATE is too long a path for the unix sockets below it" >&2; exit 2; }
[ ! -e "$STATE/netns" ] || { echo "$STATE is in use; run down.sh first" >&2; exit 2; }
netns=greenlight-$(printf %s "$STATE" | sha256sum | cut -c1-8)
node=node1 net=10.244.0 ip=10.244.0.1 services=10.96.0.0/16

began=$(date +%s%3N)
log() { printf '%6d ms  %s\n' "$(($(date +%s%3N) - began))" "$*" >&2; }

give_up() {
  local code=$?; trap - EXIT
  log "failed; the last lines of the logs in $STATE/logs:"
  tail -n 4 "$STATE"/logs/*.log >&2 || true
  "$here/down.sh" "$STATE" >&2 || true
  exit "$code"
}
trap give_up EXIT

rm -rf "$STATE/logs"; mkdir -p "$STATE"/{logs,pids,certs,etcd,run,kubelet,cni,conf,commands}

# The kubelet changes these settings of the kernel. The first cluster notes them, the last one writes them back.
saved=/run/greenlight-cluster.sysctl
if [ ! -e $saved ]; then
  sysctl -e vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes > $saved.$$
  mv -n $saved.$$ $saved; rm -f $saved.$$
fi

# --- The network: a bridge for the pods, whose address is the node's. Without a default route a connection to a Service
# fails before kube-proxy's rules see it; this one leads nowhere. nsenter, because `ip netns exec` remounts /sys and
# hides the cgroups.
echo "$netns" > "$STATE/netns"
ip netns add "$netns"
enter=(nsenter "--net=/var/run/netns/$netns" --)
"${enter[@]}" sh -euc "
  ip link set lo up
  ip link add cni0 type bridge
  # A MAC of its own: else the bridge takes a pod's, and connections stall when that pod goes.
  ip link set cni0 address 02:00:0a:f4:00:01
  ip addr add $ip/24 dev cni0
  ip link set cni0 up
  ip route add default dev cni0
  sysctl -qw net.ipv4.ip_forward=1"

# --- Who is who. One administrator with a token; the API server shows its own certificate to the kubelet; service accounts
# have the rights that RBAC gives them, and no others. `apiserver.crt`, which the API server makes, contains its own CA.
token=$(openssl rand -hex 16)
openssl genrsa -out "$STATE/certs/sa.key" 2048 2>/dev/null
openssl rsa -in "$STATE/certs/sa.key" -pubout -out "$STATE/certs/sa.pub" 2>/dev/null
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /O=system:masters/CN=apiserver \
  -keyout "$STATE/certs/kubelet-client.key" -out "$STATE/certs/kubelet-client.crt" 2>/dev/null
(umask 077
echo "$token,admin,admin,system:masters" > "$STATE/certs/tokens.csv"
cat > "$STATE/kubeconfig" <<K
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$ip:6443", certificate-authority: "$STATE/certs/apiserver.crt"}}]
users: [{name: admin, user: {token: "$token"}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
K
)

# --- Settings of the components
cat > "$STATE/conf/containerd.toml" <<K
version = 3
root = "$STATE/containerd"
state = "$STATE/run/containerd"
[grpc]
  address = "$socket"
[ttrpc]
  address = "$socket.ttrpc"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "localhost/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  # in an unprivileged machine oom_score_adj cannot be lowered
  restrict_oom_score_adj = true
  disable_apparmor = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["${CNI_BIN:-/usr/lib/cni}"]
    conf_dir = "$STATE/cni"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
      BinaryName = "$(command -v runc)"
      Root = "$STATE/run/runc"
      SystemdCgroup = false
K
# The network is called like the namespace: down.sh finds the files that libcni leaves in /var/lib/cni by that name.
cat > "$STATE/cni/10-pods.conflist" <<K
{"cniVersion": "1.0.0", "name": "$netns", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$STATE/cni/data", "ranges": [[{"subnet": "$net.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
K
# A name server that refuses at once: else every look-up in a pod waits 20 s.
echo 'nameserver 127.0.0.1' > "$STATE/conf/resolv.conf"
cat > "$STATE/conf/kubelet.yaml" <<K
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ip
port: 10250
healthzPort: 0
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$STATE/certs/kubelet-client.crt"}}
authorization: {mode: Webhook}
containerRuntimeEndpoint: unix://$socket
podLogsDir: $STATE/pods-logs
volumePluginDir: $STATE/kubelet/volume-plugins
resolvConf: $STATE/conf/resolv.conf
# runs on cgroups v1 and without systemd: no tree of QoS classes, no limits of the node as a whole
cgroupDriver: cgroupfs
failCgroupV1: false
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
makeIPTablesUtilChains: false
oomScoreAdj: 0
# images are imported, never pulled: keep them
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%}
nodeStatusUpdateFrequency: 5s
serializeImagePulls: false
K
cat > "$STATE/conf/proxy.yaml" <<K
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: "$STATE/kubeconfig"}
mode: nftables
clusterCIDR: $net.0/24
hostnameOverride: $node
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
# the limits of conntrack are the whole machine's: leave them alone
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
K

# --- Command lines. component.sh starts and stops them by name.
script() { # script FILE ARGUMENT...: an executable that runs them inside the namespace
  local file=$1; shift
  { echo '#!/usr/bin/env bash'; printf 'export PATH=%q\n' "$PATH"; printf 'exec '; printf '%q ' "${enter[@]}" "$@"; echo '"$@"'; } > "$file"
  chmod 700 "$file"
}
command_() { script "$STATE/commands/$1" "${@:2}"; }
script "$STATE/enter" env "KUBECONFIG=$STATE/kubeconfig"
command_ ctr ctr --address "$socket" -n k8s.io
command_ containerd containerd --config "$STATE/conf/containerd.toml"
command_ etcd etcd --data-dir "$STATE/etcd" --unsafe-no-fsync --logger=zap --log-level=warn \
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
  --initial-cluster default=http://127.0.0.1:2380
# The lease reconciler puts the advertised address behind the Service `kubernetes`. Without InternalIP first, logs and exec
# look up the node's name.
command_ apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --authorization-mode=Node,RBAC \
  --token-auth-file="$STATE/certs/tokens.csv" --bind-address=0.0.0.0 --advertise-address="$ip" --secure-port=6443 --cert-dir="$STATE/certs" \
  --endpoint-reconciler-type=lease --service-cluster-ip-range="$services" --allow-privileged=true \
  --kubelet-preferred-address-types=InternalIP \
  --kubelet-client-certificate="$STATE/certs/kubelet-client.crt" --kubelet-client-key="$STATE/certs/kubelet-client.key" \
  --service-account-issuer=https://kubernetes.default.svc \
  --service-account-signing-key-file="$STATE/certs/sa.key" --service-account-key-file="$STATE/certs/sa.pub"
# The default limit of 20 requests per second delays the controllers by 4 s, while each of them makes a service account.
command_ controller-manager kube-controller-manager --kubeconfig="$STATE/kubeconfig" --leader-elect=false \
  --use-service-account-credentials=true --kube-api-qps=300 --kube-api-burst=600 --bind-address=127.0.0.1 --cert-dir="$STATE/certs" \
  --service-account-private-key-file="$STATE/certs/sa.key" --root-ca-file="$STATE/certs/apiserver.crt" \
  --flex-volume-plugin-dir="$STATE/kubelet/volume-plugins"
command_ scheduler kube-scheduler --kubeconfig="$STATE/kubeconfig" --leader-elect=false --bind-address=127.0.0.1 --cert-dir="$STATE/certs"
command_ kubelet kubelet --config "$STATE/conf/kubelet.yaml" --kubeconfig "$STATE/kubeconfig" \
  --hostname-override "$node" --node-ip "$ip" --root-dir "$STATE/kubelet" --cert-dir "$STATE/certs"
command_ proxy kube-proxy --config "$STATE/conf/proxy.yaml"

# --- Start
wait_for() { # wait_for WHAT CMD...: up to 90 s, as long as everything that was started lives
  local what=$1 deadline=$((SECONDS + 90)) pidfile; shift
  until "$@" >/dev/null 2>&1; do
    for pidfile in "$STATE"/pids/*; do alive "${pidfile##*/}" || { log "${pidfile##*/} ended"; return 1; }; done
    [ $SECONDS -lt $deadline ] || { log "waited 90 s in vain: $what"; return 1; }
    sleep .1
  done
  log "$what"
}
get() { "${enter[@]}" curl -sf -m 2 --noproxy '*' --cacert "$STATE/certs/apiserver.crt" -H "Authorization: Bearer $token" "https://$ip:6443/$1"; }
node_ready() { get "api/v1/nodes/$node" | python3 -c '
import json, sys
node = json.load(sys.stdin)
ready = any(c["type"] == "Ready" and c["status"] == "True" for c in node["status"]["conditions"])
sys.exit(not ready or bool(node["spec"].get("taints")))'; }

start containerd etcd apiserver
python3 "$here/image.py" "$STATE/pause.tar" localhost/pause:1 --file "$(command -v pause):/pause" --entrypoint /pause >/dev/null
wait_for "containerd is ready" "$STATE/commands/ctr" version
for image in "$STATE/pause.tar" "$@"; do "$STATE/commands/ctr" images import --local "$image" 2>&1 >/dev/null | grep -v DEPRECATION >&2 || true; done
log "images are imported"
wait_for "API server is ready" get readyz
start controller-manager scheduler kubelet proxy
wait_for "node is ready" node_ready
wait_for "pods are accepted" get api/v1/namespaces/default/serviceaccounts/default
trap - EXIT
echo "$STATE/enter kubectl get nodes"
