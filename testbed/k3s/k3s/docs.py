"""The tables of README.md, written from the code so that they cannot differ from it.

`python3 -m k3s.docs README.md` rewrites the parts between the markers.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from . import bootstrap, host, nodepassword, server, tokens
from .options import OPTIONS


@dataclass(frozen=True)
class Refusal:
    """A message that the stand-in shares with K3s, and where K3s has it."""

    when: str
    message: str
    source: str


REFUSALS = (
    Refusal(
        "option that the command does not have", "flag provided but not defined: -x", "urfave/cli, Go `flag`"
    ),
    Refusal("unknown command (exit 3)", "No help topic for 'x'", "urfave/cli `ShowCommandHelp`"),
    Refusal(
        "unknown key in a configuration file",
        "Unknown flag --x found in config.yaml, skipping",
        "pkg/configfilearg/parser.go",
    ),
    Refusal(
        "unknown item of `disable`",
        "unknown disable item x",
        "none: K3s takes any file name here. The stand-in is stricter, because a typo would keep a component",
    ),
    Refusal("`server` not as root", server.NOT_ROOT, "pkg/cli/server/server.go"),
    Refusal(
        "restore path alone",
        "invalid flag use; --cluster-reset required with --cluster-reset-restore-path",
        "pkg/cli/server/server.go",
    ),
    Refusal(
        "`cluster-reset` with `server`",
        "cannot perform cluster-reset while server URL is set - remove server from "
        "configuration before resetting",
        "pkg/cli/server/server.go",
    ),
    Refusal(
        "`disable-apiserver` with a datastore",
        "invalid flag use; cannot use --disable-apiserver with --datastore-endpoint",
        "pkg/cli/server/server.go, issue 9765",
    ),
    Refusal(
        "`disable-etcd` with a datastore",
        "invalid flag use; cannot use --disable-etcd with --datastore-endpoint",
        "pkg/cli/server/server.go, issue 9765",
    ),
    Refusal(
        "`disable-etcd` without `server`",
        "invalid flag use; --server is required with --disable-etcd",
        "pkg/cli/server/server.go",
    ),
    Refusal(
        "unknown flannel backend",
        "Cannot configure unknown flannel backend 'x'",
        "pkg/agent/flannel/setup.go",
    ),
    Refusal("unknown egress selector", "invalid egress-selector-mode x", "pkg/cli/server/server.go"),
    Refusal(
        "bad address range", "invalid cluster-cidr x: invalid CIDR address: x", "pkg/cli/server/server.go"
    ),
    Refusal("no default route", host.NO_ROUTE, "k8s.io/apimachinery pkg/util/net/interface.go"),
    Refusal("`id.secret` as server token", tokens.NORMALIZE, "pkg/util/token.go, pull request 7389"),
    Refusal(
        "other token on an existing datastore",
        f"preparing server: {bootstrap.DIFFERENT_TOKEN}",
        "pkg/cluster/storage.go, issues 4640, 4910, 11366",
    ),
    Refusal(
        "CA on disk newer than in the datastore",
        "x newer than datastore and could cause a cluster outage. Remove "
        "the file(s) from disk and restart to be recreated from datastore.",
        "pkg/cluster/bootstrap.go",
    ),
    Refusal(
        "token of another cluster",
        "token CA hash does not match the Cluster CA certificate hash: x != y",
        "pkg/clientaccess/token.go",
    ),
    Refusal("wrong node password", nodepassword.rejected_text(), "pkg/agent/config/config.go"),
    Refusal("agent without server", "--server is required", "pkg/cli/agent/agent.go"),
    Refusal("agent without token", "--token is required", "pkg/cli/agent/agent.go"),
    Refusal(
        "agent with a wrong token",
        "Waiting to retrieve agent configuration; server is not ready: failed to retrieve "
        "configuration from server: <url>/v1-k3s/config: 401 Unauthorized",
        "pkg/agent/config/config.go",
    ),
    Refusal(
        "`etcd-snapshot` on SQLite",
        "see server log for details: etcd datastore disabled",
        "pkg/etcd/snapshot_handler.go, pkg/cli/etcdsnapshot",
    ),
    Refusal(
        "manifest with a bad name",
        'Addon.k3s.cattle.io "my_file" is invalid: metadata.name: ...',
        "pkg/deploy/controller.go and the API server",
    ),
    Refusal(
        "unreadable kubeconfig",
        "Unable to read /etc/rancher/k3s/k3s.yaml, please start server with "
        "--write-kubeconfig-mode or --write-kubeconfig-group to modify kube config permissions",
        "pkg/kubectl/main.go",
    ),
)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def options_table() -> str:
    """One row for every option: what it does here."""
    lines = ["| option | command | here |", "|---|---|---|"]
    for option in OPTIONS:
        parts = [option.effect] if option.effect else []
        if option.refused:
            parts.append(f"refused: {option.refused}")
        lines.append(
            f"| `{option.name}` | {option.scope} | {_cell('; '.join(parts) or 'accepted without effect')} |"
        )
    return "\n".join(lines) + "\n"


def refusals_table() -> str:
    """One row for every imitated refusal."""
    lines = ["| when | message | source in K3s |", "|---|---|---|"]
    lines += [f"| {_cell(item.when)} | `{_cell(item.message)}` | {_cell(item.source)} |" for item in REFUSALS]
    return "\n".join(lines) + "\n"


def rewrite(text: str) -> str:
    """README's text with fresh tables."""
    for name, table in (("options", options_table()), ("refusals", refusals_table())):
        start, end = f"<!-- {name}: start -->\n", f"<!-- {name}: end -->\n"
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = before + start + table + end + after
    return text


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as stream:
        CONTENT = stream.read()
    with open(sys.argv[1], "w", encoding="utf-8") as stream:
        stream.write(rewrite(CONTENT))
