#!/usr/bin/env bash
# The floor under a first provision: the same files, downloads, services and objects as site.yml, on the same kind of
# node from the same mirror to the same end, by a plain script over one SSH connection. It decides nothing, refuses
# nothing, compares nothing and could not be run twice.
#
# floor.sh SSH_CONFIG HOST WORK: WORK has files.tar, objects.json and downloads (lines of URL, SHA-256, path).
set -euo pipefail
config=$1 host=$2 work=$3
ssh() { command ssh -F "$config" -o LogLevel=ERROR -o ControlMaster=auto -o ControlPersist=30 -o "ControlPath=$work/ssh" "$host" "$@"; }

ssh sudo tar -C / -xf - <"$work/files.tar"
# shellcheck disable=SC2087 # the list of downloads is filled in here
ssh sudo bash -s <<SCRIPT
set -euo pipefail
ln -sf /usr/share/zoneinfo/Asia/Seoul /etc/localtime
xargs -a /etc/modules-load.d/observer-node.conf -n1 modprobe 2>/dev/null || true
sysctl --quiet --load=/etc/sysctl.d/zz-observer-node.conf
systemctl daemon-reload
systemctl enable --quiet --now observer-firewall.service
install -d -m 700 /var/lib/rancher/k3s/agent/images /opt/local-path-provisioner
install -d -m 755 /opt/platform /opt/platform/runtime /opt/platform/runtime/observer
install -d -m 755 -o 1000 -g 1000 /opt/platform/runtime/observer/config
for name in kubectl crictl ctr; do ln -sf k3s /usr/local/bin/\$name; done
while read -r url sha256 path; do
    curl -fsSo "\$path" "\$url"
    echo "\$sha256  \$path" | sha256sum --check --quiet
done <<DOWNLOADS
$(cat "$work/downloads")
DOWNLOADS
chmod 755 /usr/local/bin/k3s
systemctl enable --quiet --now k3s.service
until kubectl get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done
SCRIPT
# A kind is unknown until its definition has been taken in, so what fails is applied again.
until ssh sudo kubectl apply --server-side --force-conflicts -f - <"$work/objects.json" >"$work/apply.log" 2>&1; do
    sleep 0.2
done
ssh sudo bash -s <<'SCRIPT'
address=$(kubectl -n observer-local get service observer -o 'jsonpath={.spec.clusterIP}')
until curl -fso /dev/null --max-time 1 "http://$address:8000/ready"; do sleep 0.2; done
SCRIPT
