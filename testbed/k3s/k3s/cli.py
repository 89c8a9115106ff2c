"""The command line: which command runs, under which name, with which exit code.

cmd/k3s/main.go is the model. Linked as kubectl, ctr or crictl the file behaves as those. The imports
are inside the functions on purpose: `k3s kubectl` has to be fast, and the file is not compiled ahead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

TOOLS = ("kubectl", "ctr", "crictl")
COMMANDS = {
    "server": "Run management server",
    "agent": "Run node agent",
    "kubectl": "Run kubectl",
    "crictl": "Run crictl",
    "ctr": "Run ctr",
    "check-config": "Run config check (not imitated)",
    "token": "Manage tokens",
    "etcd-snapshot": "Manage etcd snapshots (there is no etcd)",
    "secrets-encrypt": "Control secrets encryption and keys rotation (status only)",
    "certificate": "Manage K3s certificates (check only)",
    "completion": "Install shell completion script (not imitated)",
    "help": "Shows a list of commands or help for one command",
}


def main(argv: Sequence[str]) -> int:
    """Run and return the exit code."""
    try:
        return _dispatch(list(argv))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        from .errors import ExitWith, Fatal, NotImitated, UsageError

        if isinstance(error, (ExitWith, NotImitated)):
            print(error, file=sys.stderr)
            return error.code
        if isinstance(error, (Fatal, OSError)):
            from . import log

            if isinstance(error, UsageError):
                print(f"Incorrect Usage: {error}\n", file=sys.stderr)
            log.fatal(f"Error: {error}")
            return 1
        raise


def _dispatch(argv: list[str]) -> int:
    name = os.path.basename(argv[0])
    if name in TOOLS:
        return run_tool(name, argv[1:])
    args = argv[1:]
    while args and args[0] in ("--debug", "-debug"):
        args.pop(0)
    if not args or args[0] in ("help", "h", "--help", "-h", "-help"):
        print(usage())
        return 0
    command, rest = args[0], args[1:]
    if command in ("--version", "-v", "-version"):
        from . import payload

        sys.stdout.write(payload.build().version_text())
        return 0
    if command in TOOLS:
        return run_tool(command, rest)
    if command in ("server", "agent"):
        return run_daemon(command, rest)
    from .errors import ExitWith, NotImitated, UsageError

    if command == "token":
        return token(rest)
    if command == "secrets-encrypt":
        return secrets_encrypt(rest)
    if command == "etcd-snapshot":
        return etcd_snapshot(rest)
    if command == "certificate":
        return certificate(rest)
    if command in COMMANDS:
        raise NotImitated(f"k3s {command}")
    if command.startswith("-"):
        raise UsageError(f"flag provided but not defined: -{command.lstrip('-').partition('=')[0]}")
    raise ExitWith(f"No help topic for '{command}'", 3)


def usage() -> str:
    """The text of `k3s help`."""
    from . import payload

    lines = [
        "NAME:",
        "   k3s - Kubernetes, but small and simple (stand-in)",
        "",
        "USAGE:",
        "   k3s [global options] command [command options]",
        "",
        "VERSION:",
        f"   {payload.build().version_text().splitlines()[0].removeprefix('k3s version ')}",
        "",
        "COMMANDS:",
    ]
    lines += [f"   {name:<16} {text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "GLOBAL OPTIONS:",
        "   --debug        (logging) Turn on debug logs",
        "   --help, -h     show help",
        "   --version, -v  print the version",
    ]
    return "\n".join(lines)


def command_usage(command: str) -> str:
    """All options of a command, without the hidden art of urfave's layout."""
    from .options import OPTIONS, for_command

    known = set(for_command(command).values())
    lines = [
        "NAME:",
        f"   k3s {command} - {COMMANDS[command]}",
        "",
        "USAGE:",
        f"   k3s {command} [OPTIONS]",
        "",
        "OPTIONS:",
    ]
    for option in OPTIONS:
        if option in known:
            names = ", ".join(("-" if len(name) == 1 else "--") + name for name in option.names())
            value = "" if option.kind == "bool" else " value"
            env = f" [${option.env}]" if option.env else ""
            lines.append(f"   {names}{value:<8} {option.effect or 'accepted without effect'}{env}")
    return "\n".join(lines)


def find_data_dir(args: Sequence[str]) -> str:
    """The data directory before options are parsed (findDataDir): arguments, then files.

    K3S_DATA_DIR is not read: K3s sets it for its children to the directory of the unpacked payload.
    """
    from . import config
    from .settings import resolve_data_dir

    for index, word in enumerate(args):
        if word == "--":
            break
        for name in ("--data-dir", "-d"):
            if word == name and index + 1 < len(args):
                return resolve_data_dir(args[index + 1])
            if word.startswith(name + "="):
                return resolve_data_dir(word[len(name) + 1 :])
    return resolve_data_dir(config.find_value(args, "data-dir", os.environ))


def run_tool(name: str, args: Sequence[str]) -> int:
    """Replace this process by kubectl, ctr or crictl (externalCLI)."""
    from . import payload

    data_dir = find_data_dir([])
    directory = payload.ensure(data_dir)
    env = payload.environment(directory)
    if name == "kubectl":
        _kubectl_environment(env)
    elif name == "ctr":
        env.setdefault("CONTAINERD_ADDRESS", "/run/k3s/containerd/containerd.sock")
        env.setdefault("CONTAINERD_NAMESPACE", "k8s.io")
    else:
        env.setdefault("CRI_CONFIG_FILE", os.path.join(data_dir, "agent", "etc", "crictl.yaml"))
    program = os.path.join(directory, "bin", name)
    os.execve(program, [program, *args], env)


def _kubectl_environment(env: dict[str, str]) -> None:
    """The admin kubeconfig, when there is no other (pkg/kubectl/main.go)."""
    if env.get("KUBECONFIG"):
        return
    path = "/etc/rancher/k3s/k3s.yaml"
    if not os.path.exists(path):
        return
    if not os.access(path, os.R_OK):
        from . import log

        log.warning(
            f"Unable to read {path}, please start server with --write-kubeconfig-mode or "
            "--write-kubeconfig-group to modify kube config permissions"
        )
    env["KUBECONFIG"] = path


def run_daemon(command: str, args: Sequence[str]) -> int:
    """`k3s server` and `k3s agent`: options, configuration files, log, then the command itself."""
    from . import config, log, options

    if any(word in ("--help", "-h", "-help") for word in args):
        print(command_usage(command))
        return 0
    known = options.for_command(command)
    parsed = options.parse(known, config.expand(args, known, os.environ))
    log.configure(
        debug=parsed.flag("debug"), file=parsed.text("log"), also_stderr=parsed.flag("alsologtostderr")
    )
    if command == "server":
        from . import server

        return server.run(parsed)
    from . import agent

    return agent.run(parsed)


def _subcommand(name: str, args: Sequence[str], known: Sequence[str]) -> tuple[str, list[str]]:
    """The sub-command and its arguments; unknown ones as urfave/cli refuses them."""
    from .errors import ExitWith

    words = [word for word in args if not word.startswith("-")]
    if not args or args[0] in ("help", "h", "--help", "-h"):
        print(f"USAGE:\n   k3s {name} command [command options]\n\nCOMMANDS:\n   " + "\n   ".join(known))
        raise ExitWith("", 0)
    if not words or words[0] not in known:
        raise ExitWith(f"No help topic for '{words[0] if words else args[0]}'", 3)
    rest = list(args)
    rest.remove(words[0])
    return words[0], rest


def _value(args: Sequence[str], *names: str, default: str = "") -> str:
    for index, word in enumerate(args):
        for name in names:
            if word == name and index + 1 < len(args):
                return args[index + 1]
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
    return default


def token(args: Sequence[str]) -> int:
    """`k3s token`: only `generate`, which needs no server."""
    from . import tokens
    from .errors import NotImitated

    word, _ = _subcommand("token", args, ("create", "delete", "generate", "list", "rotate"))
    if word == "generate":
        print(tokens.generate())
        return 0
    raise NotImitated(f"k3s token {word}")


def etcd_snapshot(args: Sequence[str]) -> int:
    """There is no etcd: every sub-command is refused, as on K3s with SQLite.

    The client asks the server, which answers "etcd datastore disabled" (pkg/etcd/snapshot_handler.go);
    without a server there is nobody to ask, and the connection is refused.
    """
    from .errors import Fatal

    if args and args[0] not in ("help", "h", "--help", "-h") and not args[0].startswith("-"):
        _subcommand("etcd-snapshot", args, ("save", "delete", "ls", "list", "prune"))
    _require_server(args)
    raise Fatal("see server log for details: etcd datastore disabled")


def _require_server(args: Sequence[str]) -> None:
    import socket

    from .errors import Fatal

    url = _value(args, "--server", "-s", "--etcd-server", default="https://127.0.0.1:6443")
    host, _, port = url.removeprefix("https://").rstrip("/").partition(":")
    try:
        socket.create_connection((host, int(port or "443")), timeout=5).close()
    except (OSError, ValueError) as error:
        text = "connect: connection refused" if isinstance(error, ConnectionRefusedError) else str(error)
        raise Fatal(f'failed to get CA certs: Get "{url}/cacerts": dial tcp {host}:{port}: {text}') from error


def secrets_encrypt(args: Sequence[str]) -> int:
    """`k3s secrets-encrypt`: only `status`, from the files of this server."""
    from . import secretsencrypt
    from .errors import NotImitated
    from .settings import Paths, resolve_data_dir

    known = ("status", "enable", "disable", "prepare", "rotate", "reencrypt", "rotate-keys")
    word, rest = _subcommand("secrets-encrypt", args, known)
    if word != "status":
        raise NotImitated(f"k3s secrets-encrypt {word}")
    _require_server(rest)
    given = _value(rest, "--data-dir", "-d")
    paths = Paths(resolve_data_dir(given) if given else find_data_dir([]))
    found = secretsencrypt.status(paths.encryption_config, paths.encryption_state)
    if _value(rest, "--output", "-o").lower() == "json":
        import json

        print(json.dumps(found, indent="\t"))
    else:
        sys.stdout.write(secretsencrypt.table(found))
    return 0


def certificate(args: Sequence[str]) -> int:
    """`k3s certificate`: only `check`."""
    from .errors import NotImitated

    word, rest = _subcommand("certificate", args, ("check", "rotate", "rotate-ca"))
    if word != "check":
        raise NotImitated(f"k3s certificate {word}")
    from . import certtable
    from .settings import Paths, resolve_data_dir

    given = _value(rest, "--data-dir", "-d")
    rows = certtable.rows(Paths(resolve_data_dir(given) if given else find_data_dir([])))
    sys.stdout.write(certtable.render(rows, _value(rest, "--output", "-o", default="text")))
    return 0
