from pathlib import Path

from k3s import docs, options

README = Path(__file__).resolve().parents[1] / "README.md"


# The option list of the project's notes on K3s: what the role may write into a configuration file.
RELIED_ON = """
debug v vmodule log alsologtostderr bind-address https-listen-port advertise-address
advertise-port tls-san tls-san-security supervisor-port apiserver-port
apiserver-bind-address data-dir cluster-cidr service-cidr service-node-port-range
cluster-dns cluster-domain flannel-backend flannel-ipv6-masq flannel-external-ip
flannel-iface flannel-conf flannel-cni-conf egress-selector-mode servicelb-namespace
vpn-auth vpn-auth-file write-kubeconfig write-kubeconfig-mode write-kubeconfig-group token
token-file agent-token agent-token-file server cluster-init cluster-reset
cluster-reset-restore-path kube-apiserver-arg etcd-arg kube-controller-manager-arg
kube-scheduler-arg kube-cloud-controller-manager-arg kubelet-arg kube-proxy-arg
helm-controller-arg datastore-endpoint datastore-cafile datastore-certfile
datastore-keyfile kine-tls etcd-expose-metrics etcd-disable-snapshots etcd-snapshot-name
etcd-snapshot-schedule-cron etcd-snapshot-reconcile-interval etcd-snapshot-retention
etcd-snapshot-dir etcd-snapshot-compress etcd-s3 etcd-s3-endpoint etcd-s3-endpoint-ca
etcd-s3-skip-ssl-verify etcd-s3-access-key etcd-s3-secret-key etcd-s3-session-token
etcd-s3-bucket etcd-s3-bucket-lookup-type etcd-s3-region etcd-s3-folder etcd-s3-retention
etcd-s3-proxy etcd-s3-config-secret etcd-s3-insecure etcd-s3-timeout
default-local-storage-path disable disable-scheduler disable-cloud-controller
disable-kube-proxy disable-network-policy disable-helm-controller embedded-registry
supervisor-metrics helm-job-image disable-apiserver disable-controller-manager
disable-etcd disable-agent node-name with-node-id node-label node-taint node-ip
node-external-ip node-internal-dns node-external-dns resolv-conf
image-credential-provider-bin-dir image-credential-provider-config protect-kernel-defaults
selinux lb-server-port docker container-runtime-endpoint default-runtime
image-service-endpoint disable-default-registry-endpoint nonroot-devices pause-image
snapshotter private-registry system-default-registry airgap-extra-registry
secrets-encryption secrets-encryption-provider enable-pprof rootless prefer-bundled-bin
"""


def test_tables_are_those_of_the_code() -> None:
    text = README.read_text(encoding="utf-8")
    assert docs.rewrite(text) == text, "run: python3 -m k3s.docs README.md"


def test_every_option_has_a_row() -> None:
    table = docs.options_table()
    for option in options.OPTIONS:
        assert f"| `{option.name}` |" in table


def test_every_refusal_has_a_message_and_a_source() -> None:
    for refusal in docs.REFUSALS:
        assert refusal.when
        assert refusal.message
        assert refusal.source


def test_the_options_that_a_role_relies_on_exist() -> None:
    known = set(options.for_command("server"))
    missing = [name for name in RELIED_ON.split() if name not in known]
    assert not missing
