"""`k3s agent`: a node that joins a server."""

from __future__ import annotations

import http.client
import os
from collections.abc import Callable

from . import join, log, node, payload, tokens
from .errors import Fatal
from .kubeapi import ApiError
from .options import Parsed
from .process import Supervisor, notify, supervise
from .settings import Settings, build, check_agent, resolve_data_dir


def run(options: Parsed) -> int:
    """Run until told to stop (0) or until a component dies (1)."""
    data_dir = resolve_data_dir(options.text("data-dir"))
    check_agent(options, os.path.exists(os.path.join(data_dir, "agent", "client-kubelet.crt")))
    if os.getuid() != 0:
        raise Fatal("agent must be run as root, or with --rootless")
    settings = build(options, server=False)
    tokens.parse(settings.token)
    build_info = payload.build()
    log.info(f"Starting k3s agent {build_info.version} (standin-{build_info.sha256[:8]})")
    directory = payload.ensure(settings.paths.data_dir, build_info)
    environment = payload.environment(directory)
    return supervise(environment, lambda supervisor: _start(settings, supervisor, directory))


def _start(settings: Settings, supervisor: Supervisor, directory: str) -> None:
    node.prepare_machine(settings, supervisor)
    password = node.node_password()

    def pause(seconds: float) -> None:
        supervisor.sleep(seconds)
        supervisor.check()

    join_until_done(lambda: join.join_once(settings, password, pause), supervisor, settings.server_url)
    node.start_containerd(settings, supervisor, directory)
    supervisor.wait(node.containerd_ready, "containerd startup")
    imported = node.ImageImport(settings, supervisor)
    imported.start()
    supervisor.wait(imported.done.is_set, "the import of images")
    node.start_node(settings, supervisor)
    imported.watch()
    log.info("k3s agent is up and running")
    notify("READY=1\n")


def describe(error: Exception, server_url: str) -> tuple[str, str]:
    """Level and text for a failed attempt. K3s has two: before and after the token is validated
    (pkg/agent/run.go createProxyAndValidateToken, pkg/agent/config Get)."""
    text = str(error)
    if isinstance(error, Fatal) and text.startswith(
        ("failed to get CA certs", "CA cert validation failed", "token CA hash does not match")
    ):
        return "error", f"Failed to validate connection to cluster at {server_url}: {text}"
    return "info", f"Waiting to retrieve agent configuration; server is not ready: {text}"


def join_until_done(
    attempt: Callable[[], None], supervisor: Supervisor, server_url: str, pause: float = 2.0
) -> None:
    """Try to join until it works. K3s never gives up here, so neither does the stand-in."""
    while True:
        try:
            attempt()
            return
        except (Fatal, ApiError, OSError, http.client.HTTPException) as error:
            level, text = describe(error, server_url)
            (log.error if level == "error" else log.info)(text)
        supervisor.check()
        supervisor.sleep(pause)
        supervisor.check()
