"""`k3s server`: the control plane and the node of one machine, in K3s' order.

Checks, address, bootstrap data, certificates, tokens, then kine, the API server, images, the rest.
systemd hears READY when the API server is ready and the kubelet has been started.
"""

from __future__ import annotations

import grp
import http.client
import os
import threading
from collections.abc import Callable

from . import (
    bootstrap,
    certs,
    components,
    join,
    log,
    manifests,
    node,
    nodepassword,
    payload,
    secretsencrypt,
    tokens,
)
from .errors import Fatal
from .files import read, read_text, write_atomic
from .kubeapi import Api, ApiError
from .options import Parsed
from .process import Supervisor, notify, supervise
from .settings import CONFIG_DIR, Settings, build, check_server

NOT_ROOT = "server must run as root, or with --rootless and/or --disable-agent"


def run(options: Parsed) -> int:
    """Run until told to stop (0) or until a component dies (1)."""
    check_server(options)
    if os.getuid() != 0:
        raise Fatal(NOT_ROOT)
    settings = build(options, server=True)
    password = choose_password(settings)
    build_info = payload.build()
    log.info(f"Starting k3s {build_info.version} (standin-{build_info.sha256[:8]})")
    directory = payload.ensure(settings.paths.data_dir, build_info)
    return supervise(
        payload.environment(directory), lambda supervisor: _start(settings, supervisor, directory, password)
    )


def choose_password(settings: Settings) -> str:
    """The server's password: given, stored, or new (pkg/daemons/control/deps getServerPass)."""
    given = settings.token or read_text(settings.paths.server("token"))
    return tokens.server_password(given) if given else tokens.random_password()


def prepare(settings: Settings, password: str) -> None:
    """Everything on disk that the control plane needs: bootstrap data, certificates, tokens."""
    paths = settings.paths
    os.makedirs(paths.server(), mode=0o700, exist_ok=True)
    for directory in ("tls", "cred", "db", "etc"):
        os.makedirs(paths.server(directory), mode=0o700, exist_ok=True)
    files = paths.bootstrap(settings.secrets_encryption)
    try:
        stored = bootstrap.read(paths.database, password)
        if stored is not None:
            log.info("Reconciling bootstrap data between datastore and disk")
            bootstrap.reconcile(stored, files)
    except Fatal as error:
        raise Fatal(f"preparing server: {error}") from error
    issue_certificates(settings)
    if settings.secrets_encryption:
        secretsencrypt.ensure(paths.encryption_config, paths.encryption_state, settings.encryption_provider)
    if settings.token:
        tokens.check_ca(tokens.parse(settings.token), read(paths.tls("server-ca.crt")) or b"")
    bootstrap.save(paths.database, password, bootstrap.collect(files))
    write_tokens(settings, password)


def leaves(settings: Settings) -> list[certs.Leaf]:
    """Every certificate of a server, under K3s' names (pkg/daemons/control/deps/deps.go)."""
    paths = settings.paths
    client = (paths.tls("client-ca.crt"), paths.tls("client-ca.key"))
    serving = (paths.tls("server-ca.crt"), paths.tls("server-ca.key"))
    front = (paths.tls("request-header-ca.crt"), paths.tls("request-header-ca.key"))

    def leaf(
        where: str,
        name: str,
        ca: tuple[str, str],
        common_name: str,
        *organizations: str,
        usage: str = "clientAuth",
        sans: tuple[str, ...] = (),
    ) -> certs.Leaf:
        base = paths.agent(name) if where == "agent" else paths.tls(name)
        return certs.Leaf(f"{base}.crt", f"{base}.key", *ca, common_name, organizations, usage, sans)

    domain = settings.cluster_domain
    names = certs.san_entries(
        [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{domain}",
            "127.0.0.1",
            "::1",
            "localhost",
            settings.node_name,
            *settings.node_ips,
            *settings.node_external_ips,
            *([settings.advertise_address] if settings.advertise_address else []),
            settings.service_ip,
            *settings.tls_sans,
        ]
    )
    node_name = f"system:node:{settings.node_name}"
    return [
        leaf("tls", "client-admin", client, "system:admin", "system:masters"),
        leaf("tls", "client-supervisor", client, "system:k3s-supervisor", "system:masters"),
        leaf("tls", "client-controller", client, "system:kube-controller-manager"),
        leaf("tls", "client-scheduler", client, "system:kube-scheduler"),
        leaf("tls", "client-kube-apiserver", client, "system:apiserver", "system:masters"),
        leaf("tls", "client-kube-proxy", client, "system:kube-proxy"),
        leaf("tls", "client-k3s-controller", client, "system:k3s-controller"),
        leaf("tls", "client-auth-proxy", front, "system:auth-proxy"),
        leaf("tls", "serving-kube-apiserver", serving, "kube-apiserver", usage="serverAuth", sans=names),
        leaf("agent", "client-kubelet", client, node_name, "system:nodes"),
        leaf("agent", "client-kube-proxy", client, "system:kube-proxy"),
        leaf("agent", "client-k3s-controller", client, "system:k3s-controller"),
        leaf(
            "agent",
            "serving-kubelet",
            serving,
            node_name,
            "system:nodes",
            usage="serverAuth",
            sans=join.serving_sans(settings),
        ),
    ]


def issue_certificates(settings: Settings) -> None:
    """CAs, service account key, leaves and the kubeconfigs of the control plane."""
    paths = settings.paths
    for name in ("client", "server", "request-header"):
        certs.ensure_ca(paths.tls(f"{name}-ca.crt"), paths.tls(f"{name}-ca.key"), f"k3s-{name}-ca")
    certs.ensure_service_key(paths.tls("service.key"))
    for name in ("client", "server"):
        chain = read(paths.tls(f"{name}-ca.crt")) or b""
        write_atomic(paths.tls(f"{name}-ca.nochain.crt"), certs.first_certificate(chain), 0o644)
        write_atomic(paths.agent(f"{name}-ca.crt"), chain, 0o644)
    for leaf in leaves(settings):
        certs.ensure_leaf(leaf)
    for name, certificate in (
        ("admin", "client-admin"),
        ("supervisor", "client-supervisor"),
        ("controller", "client-controller"),
        ("scheduler", "client-scheduler"),
        ("api-server", "client-kube-apiserver"),
    ):
        write_atomic(
            paths.cred(f"{name}.kubeconfig"),
            components.kubeconfig(
                settings.api_url,
                paths.tls("server-ca.crt"),
                paths.tls(f"{certificate}.crt"),
                paths.tls(f"{certificate}.key"),
            ),
        )


def write_tokens(settings: Settings, password: str) -> None:
    """`server/token`, `node-token` and `agent-token` (pkg/server/server.go printTokens)."""
    paths = settings.paths
    ca = read(paths.tls("server-ca.crt")) or b""
    agent_password = tokens.server_password(settings.agent_token) if settings.agent_token else password
    write_atomic(paths.server("token"), tokens.secure("server", password, ca) + "\n")
    _link(paths.server("token"), paths.server("node-token"))
    agent_file = paths.server("agent-token")
    if settings.agent_token:
        if os.path.islink(agent_file):
            os.unlink(agent_file)
        write_atomic(agent_file, tokens.secure("node", agent_password, ca) + "\n")
    else:
        _link(paths.server("token"), agent_file)
    write_atomic(paths.cred("agent-tokens.csv"), join.agent_tokens(password, agent_password))
    write_atomic(
        paths.cred("passwd"), f"{agent_password},node,node,k3s:agent\n{password},server,server,k3s:server\n"
    )
    log.info(f"Server node token is available at {paths.server('token')}")


def _link(target: str, name: str) -> None:
    if os.path.islink(name) and os.readlink(name) == target:
        return
    if os.path.lexists(name):
        os.unlink(name)
    os.symlink(target, name)


def write_admin_kubeconfig(settings: Settings) -> None:
    """/etc/rancher/k3s/k3s.yaml, or another place with a link from there (writeKubeConfig)."""
    paths = settings.paths
    standard = os.path.join(CONFIG_DIR, "k3s.yaml")
    target = settings.kubeconfig or standard
    mode = 0o600
    if settings.kubeconfig_mode:
        try:
            mode = int(settings.kubeconfig_mode, 8)
        except ValueError:
            log.error(f"Failed to set {target} to mode {settings.kubeconfig_mode}: invalid syntax")
    text = components.admin_kubeconfig(
        f"https://{settings.loopback}:{settings.https_port}",
        read(paths.tls("server-ca.crt")) or b"",
        read(paths.tls("client-admin.crt")) or b"",
        read(paths.tls("client-admin.key")) or b"",
    )
    write_atomic(target, text, mode)
    if settings.kubeconfig_group:
        try:
            group = settings.kubeconfig_group
            os.chown(target, -1, int(group) if group.isdigit() else grp.getgrnam(group).gr_gid)
            if not settings.kubeconfig_mode:
                os.chmod(target, 0o640)
        except (KeyError, OSError) as error:
            log.error(f"Failed to set {target} to group {settings.kubeconfig_group}: {error}")
    if target != standard:
        os.makedirs(CONFIG_DIR, exist_ok=True)
        _link(target, standard)
    log.info(f"Wrote kubeconfig {target}")


def template_values(settings: Settings) -> dict[str, str]:
    """The values that packaged manifests may name (pkg/server/server.go stageFiles)."""
    registry = settings.system_default_registry
    return {
        "CLUSTER_DNS": settings.cluster_dns[0],
        "CLUSTER_DNS_LIST": "[" + ", ".join(settings.cluster_dns) + "]",
        "CLUSTER_DNS_IPFAMILYPOLICY": "SingleStack" if len(settings.cluster_dns) == 1 else "RequireDualStack",
        "CLUSTER_DOMAIN": settings.cluster_domain,
        "DEFAULT_LOCAL_STORAGE_PATH": settings.local_storage_path,
        "SYSTEM_DEFAULT_REGISTRY": f"{registry}/" if registry else "",
        "SYSTEM_DEFAULT_REGISTRY_RAW": registry,
    }


def _start(settings: Settings, supervisor: Supervisor, directory: str, password: str) -> None:
    paths = settings.paths
    node.prepare_machine(settings, supervisor)
    if not settings.advertise_address:
        settings.advertise_address = (settings.node_external_ips or settings.node_ips)[0]
    prepare(settings, password)
    manifests.stage(
        os.path.join(directory, "manifests"), paths.manifests, template_values(settings), settings.disable
    )
    os.makedirs(settings.local_storage_path, mode=0o700, exist_ok=True)

    node.start_containerd(settings, supervisor, directory)
    if os.path.lexists(paths.kine_socket):
        os.unlink(paths.kine_socket)
    supervisor.start(components.kine(settings))
    supervisor.wait(lambda: os.path.exists(paths.kine_socket), "the datastore")
    supervisor.start(components.kube_apiserver(settings))
    supervisor.wait(node.containerd_ready, "containerd startup")
    log.info("containerd is now running")
    imported = node.ImageImport(settings, supervisor)
    imported.start()

    api = Api(
        settings.api_url,
        ca_file=paths.tls("server-ca.crt"),
        certificate=paths.tls("client-supervisor.crt"),
        key=paths.tls("client-supervisor.key"),
    )
    supervisor.wait(api.ready, "API server to become available")
    log.info("Kube API server is now running")
    write_admin_kubeconfig(settings)
    if not settings.disable_controller_manager:
        supervisor.start(components.kube_controller_manager(settings))
    if not settings.disable_scheduler:
        supervisor.start(components.kube_scheduler(settings))
    _retry(supervisor, lambda: join.publish(api, settings), "the namespaces kube-system and kube-public")

    env = supervisor.env
    kubectl = os.path.join(directory, "bin", "kubectl")
    deployer = manifests.Deployer(
        paths.manifests,
        settings.disable,
        manifests.kubectl_runner(kubectl, paths.cred("supervisor.kubeconfig"), env),
    )
    threading.Thread(target=deployer.watch, args=(supervisor.stopping, 1.0), daemon=True).start()
    threading.Thread(target=join.controllers, args=(api, settings, supervisor.stopping), daemon=True).start()

    supervisor.wait(imported.done.is_set, "the import of images")
    _wait_for_password(settings, supervisor, api)
    node.start_node(settings, supervisor)
    imported.watch()
    log.info("k3s is up and running")
    notify("READY=1\n")


def _retry(supervisor: Supervisor, action: Callable[[], None], what: str) -> None:
    """Repeat an action of the start until it works; namespaces appear a moment after readyz."""

    def attempt() -> bool:
        try:
            action()
            return True
        except (OSError, http.client.HTTPException, ApiError) as error:
            log.debug(f"waiting for {what}: {error}")
            return False

    supervisor.wait(attempt, what, interval=0.5)


def _wait_for_password(settings: Settings, supervisor: Supervisor, api: Api) -> None:
    """No kubelet before the node has proved its name. K3s keeps asking every five seconds, and the
    service counts as started meanwhile: its READY does not wait for the node."""
    password = node.node_password()
    told = False
    while True:
        try:
            nodepassword.ensure_secret(api, settings.node_name, password)
            return
        except nodepassword.Rejected as error:
            log.info(f"Waiting to retrieve agent configuration; server is not ready: {error}")
            if not told:
                notify("READY=1\n")
                told = True
        except (OSError, http.client.HTTPException, ApiError) as error:
            log.info(f"Waiting to retrieve agent configuration; server is not ready: {error}")
        supervisor.check()
        supervisor.sleep(5.0)
        supervisor.check()
