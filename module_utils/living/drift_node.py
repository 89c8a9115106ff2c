"""The part of a node's state that lies outside the cluster: files, packages, services, accounts, ports, packet filter.

Everything is read as it lies on the disk or as the kernel and systemd tell it, in the form in which two looks at a node
that nobody has touched are equal: an hour of running or a reboot makes no difference.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import os
import re
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from .firewall import PROGRAMS, SEARCH_PATH, native, saved

State = dict[str, Any]
Runner = Callable[[Sequence[str]], str]

PLACES = (
    "/etc/anacrontab", "/etc/apt", "/etc/cron.d", "/etc/cron.daily", "/etc/cron.hourly", "/etc/cron.monthly",
    "/etc/cron.weekly", "/etc/cron.yearly", "/etc/crontab", "/etc/environment", "/etc/fstab", "/etc/init.d",
    "/etc/iptables", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/localtime", "/etc/modprobe.d", "/etc/modules",
    "/etc/modules-load.d", "/etc/netplan", "/etc/nftables.conf", "/etc/observer-node", "/etc/pam.d", "/etc/profile.d",
    "/etc/rancher", "/etc/rc.local", "/etc/security", "/etc/ssh", "/etc/sudoers", "/etc/sudoers.d", "/etc/sysctl.conf",
    "/etc/sysctl.d", "/etc/systemd", "/etc/timezone", "/etc/udev/rules.d", "/opt/platform", "/usr/local/bin",
    "/usr/local/lib/observer-node", "/usr/local/lib/systemd", "/usr/local/sbin", "/var/lib/rancher/k3s/agent/images",
    "/var/lib/rancher/k3s/agent/pod-manifests", "/var/lib/rancher/k3s/server/manifests", "/var/spool/cron",
)
"""What steers the system or the cluster: a file that appears here is looked at by somebody."""

ROLES = {
    "node": r"/etc/(observer-node(/(node\.json|firewall\.(json|py)))?|localtime|timezone"
            r"|modules-load\.d/observer-node\.conf|sysctl\.d/zz-observer-node\.conf"
            r"|systemd/system/observer-firewall\.service)",
    "k3s": r"/etc/rancher/k3s(/(config\.yaml|token|registries\.yaml|registry-ca\.crt))?"
           r"|/etc/systemd/system/k3s(-agent)?\.service|/usr/local/bin/(k3s|kubectl|crictl|ctr)"
           r"|/var/lib/rancher/k3s/agent/images(/.*)?",
    "local_path": r"/opt/local-path-provisioner",
    "config_dir": r"/opt/platform(/[\w-]+){0,3}",
    "watch": r"/etc/observer-node/watch\.json|/etc/systemd/system/observer-watch\.(service|timer)"
             r"|/usr/local/lib/observer-node(/(__main__\.py|watch\.json|living(/.*)?))?",
    "backup": r"/etc/observer-node/backup(/[\w.]+)?|/usr/local/bin/(restic|observer-receiver|observer-prune)"
              r"|/etc/systemd/system/observer-backup-\w+\.(service|timer)"
              r"|/usr/local/lib/observer-node/backup(_run\.py|(/.*)?)",
}
"""What each role declares on a node, and so mends."""

OURS = re.compile("|".join(f"({pattern})" for pattern in ROLES.values()))

OUR_UNITS = re.compile(r"(k3s|k3s-agent|observer-[\w-]+)\.(service|timer)")

LEFT_OUT = re.compile(
    # Links that only say what is enabled or masked are the services' part.
    r"/etc/systemd/system/[^/]+\.(wants|requires|upholds)(/.*)?"
    r"|/etc/systemd/user/[^/]+\.wants(/.*)?"
    r"|/var/lib/rancher/k3s/agent/images/\.cache\.json"
    r"|.*/(__pycache__|\.placeholder)(/.*)?"
    # Half a file of ours that is being written.
    r"|.*/\.observer-node-[^/]*"
)

UNITS = "/etc/systemd/system"
ALIAS = re.compile(r"/etc/systemd/(system|user)/dbus-org\.[^/]*")
OF_PACKAGES = re.compile(r"(/usr)?/lib/systemd/.*")
OF_SNAPD = re.compile(r"/etc/systemd/(system|user)/snap[.-][^/]*")

NOT_READ = re.compile(r"/etc/rancher/k3s/k3s\.yaml")
"""K3s writes this anew at its starts; who may read it counts all the same."""

LARGE = 100 * 1024 * 1024
"""Bytes from which a file is known by size and time instead of by its content: archives of images."""

MOST_FILES = 5000
DEPTH = 8
MOST_KEYS = 1 << 20
"""Bytes of one file of keys."""

POWERFUL = ("adm", "admin", "docker", "disk", "lxd", "root", "shadow", "sudo", "wheel")
"""Groups whose members can become root, or read what root reads."""

UNIT_STATES = {"enabled": "enabled", "linked": "enabled", "masked": "masked"}
"""All else does not start by itself and can be started."""

COMMANDS = {
    "units": ("systemctl", "list-unit-files", "--no-legend", "--no-pager", "--plain"),
    "failed": ("systemctl", "list-units", "--state=failed", "--no-legend", "--no-pager", "--plain"),
    "running": ("systemctl", "list-units", "--type=service,timer", "--state=running,waiting,exited", "--no-legend",
                "--no-pager", "--plain"),
}

OTHERS_CHAINS = re.compile(r"KUBE-|FLANNEL|CNI-|NETPOL|DOCKER|LIBVIRT|cali-|f2b-")
OTHERS_RULES = re.compile(r' -[jg] (KUBE-|FLANNEL|CNI-|NETPOL|DOCKER|LIBVIRT|cali-|f2b-)'
                          r'|--comment "?(kube|KUBE|flannel|cali)')
"""Beginnings of chains, and rules, that programs rewrite while they run."""

DHCP_CLIENT = (68, 546)
"""Ports that are open only while a lease is asked for."""


def run(argv: Sequence[str]) -> str:
    """What a program prints.

    :raises OSError: it is not there, takes more than 20 s or refuses; the message says what it said.
    """
    environment = {**os.environ, "LC_ALL": "C", "PATH": SEARCH_PATH}
    try:
        done = subprocess.run(list(argv), capture_output=True, text=True, errors="replace", check=False, timeout=20,
                              env=environment, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"{argv[0]} did not answer within {error.timeout:.0f} s") from error
    if done.returncode:
        raise OSError(f"{argv[0]}: {(done.stderr.strip() or 'refused').splitlines()[-1]}")
    return done.stdout


def snapshot(
    key: bytes, known: Mapping[str, Any], places: Sequence[str] = (), storage: str = "/opt/local-path-provisioner",
    root: str = "/", runner: Runner = run,
) -> State:
    """The node's state. ``blind`` is what could not be seen of it: ``paths`` (or ``user`` and a name, for the keys),
    and the path ``after`` which no other files were looked for.

    :param key: what contents are hashed with; without it a hash tells nothing of a secret file.
    :param known: the files of an earlier snapshot with the same key; unchanged large ones are not read again.
    :param places: files and folders to be looked at besides :data:`PLACES`.
    :param storage: folder of the volumes; only itself is looked at.
    :param root: folder that stands for ``/``.
    :param runner: runs a program and returns its output, or raises OSError.
    """
    blind: State = {"paths": [], "after": ""}
    state: State = {"blind": blind}
    errors: list[dict[str, str]] = []

    def part(name: str, look: Callable[[], Any], empty: Any) -> Any:  # noqa: ANN401 (JSON)
        try:
            state[name] = look()
        except (OSError, ValueError) as error:
            state[name] = None
            errors.append({"about": name, "why": str(error)})
        return empty if state[name] is None else state[name]

    pristine: dict[str, tuple[str, str]] = {}
    try:
        state["packages"], pristine = packages(root)
    except (OSError, ValueError) as error:
        state["packages"] = None
        errors.append({"about": "packages", "why": str(error)})
    part("files", lambda: files((*PLACES, *places), (storage,), key, known, pristine, root, errors, blind), {})
    part("services", lambda: services(runner, root), {})
    part("accounts", lambda: accounts(root), {})
    part("keys", lambda: keys(root, errors, blind), {})
    part("ports", lambda: ports(root), {})
    part("firewall", lambda: firewall(runner, root), {})
    part("kernel", lambda: kernel(root), {})
    state["errors"] = errors
    return state


# --- files ------------------------------------------------------------------------------------------


def files(
    places: Sequence[str], folders: Sequence[str], key: bytes, known: Mapping[str, Any],
    pristine: Mapping[str, tuple[str, str]], root: str, errors: list[dict[str, str]], blind: State,
) -> State:
    """Files, links and folders of ours below ``places``, by path; ``folders`` are looked at alone.

    A file of a package that is as the package has it bears the package's name. Paths that cannot be read are left out
    and told in ``errors`` and ``blind``. Where there are too many, those that were known are looked at all the same.
    """
    found: State = {}

    def look(path: str) -> None:
        try:
            entry = {} if undeclarable(path, root) else describe(path, key, known.get(path), pristine, root)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            errors.append({"about": path, "why": error.strerror or str(error)})
            blind["paths"].append(path)
            return
        if entry and (entry["type"] != "folder" or OURS.fullmatch(path)):
            found[path] = entry

    for path in walk(places, root, errors, blind):
        if len(found) >= MOST_FILES:
            errors.append({"about": path, "why": f"more than {MOST_FILES} files; the rest was not looked at"})
            blind["after"] = path
            break
        look(path)
    if blind["after"]:
        for path in known:
            if path not in found and not LEFT_OUT.fullmatch(path):
                look(path)
    for path in folders:
        if os.path.isdir(inside(root, path)):
            found[path] = describe(path, key, None, {}, root)
    return found


def role_of(path: str) -> str:
    """The role that declares a path or a unit, or nothing."""
    if OUR_UNITS.fullmatch(path):
        path = f"/etc/systemd/system/{path}"
    return next((role for role, pattern in ROLES.items() if re.fullmatch(pattern, path)), "")


def inside(root: str, path: str) -> str:
    return path if root == "/" else root.rstrip("/") + path


def order(path: str) -> list[str]:
    """What paths are sorted by: everything below a folder comes right after it."""
    return path.split("/")


def unseen(state: Mapping[str, Any], subject: str) -> bool:
    """Whether a look could not see a path, or the account that a key is of."""
    return any(subject == one or subject.startswith((f"{one}/", f"{one}:"))
               for one in (state.get("blind") or {}).get("paths") or ())


def beyond(state: Mapping[str, Any], path: str) -> bool:
    """Whether a look ended before it came to a path."""
    last = str((state.get("blind") or {}).get("after") or "")
    return bool(last) and order(path) >= order(last)


def undeclarable(path: str, root: str) -> bool:
    """Whether a unit is an alias of a package's, or snapd made it for a snap, which updates itself. Its name alone
    says neither: what it leads to or starts has to."""
    real = inside(root, path)
    if ALIAS.fullmatch(path):
        return os.path.islink(real) and bool(OF_PACKAGES.fullmatch(os.readlink(real)))
    if not OF_SNAPD.fullmatch(path) or os.path.islink(real):
        return False
    try:
        with opened(real, follow=False) as file:
            text = file.read(1 << 16).decode(errors="replace")
    except OSError:
        return False
    lines = [line.strip() for line in text.splitlines()]
    starts = [line.partition("=")[2].lstrip("-@:+! ") for line in lines if line.startswith("Exec")]
    if path.endswith(".mount"):
        return not starts and any(line.startswith("What=/var/lib/snapd/snaps/") for line in lines) \
            and any(line.startswith(("Where=/snap/", "Where=/var/lib/snapd/snap/")) for line in lines)
    return "X-Snappy=yes" in lines and all(start.startswith("/usr/bin/snap ") for start in starts)


def opened(real: str, follow: bool = True) -> BinaryIO:
    """A regular file, open for reading. What else stands there is not even opened: a pipe would keep us waiting, and
    some devices do something when they are opened.

    :raises OSError: it is none, or it cannot be read.
    """
    place = os.open(real, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            raise OSError(errno.EINVAL, "it is no file", real)
        return os.fdopen(os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    finally:
        os.close(place)


def walk(places: Sequence[str], root: str, errors: list[dict[str, str]], blind: State) -> Iterator[str]:
    """Every path at and below the places, without following links, in order."""
    def below(path: str, depth: int) -> Iterator[str]:
        if LEFT_OUT.fullmatch(path):
            return
        yield path
        if depth < DEPTH and os.path.isdir(inside(root, path)) and not os.path.islink(inside(root, path)):
            try:
                names = sorted(os.listdir(inside(root, path)))
            except FileNotFoundError:
                return
            except OSError as error:
                errors.append({"about": path, "why": error.strerror or str(error)})
                blind["paths"].append(path)
                return
            for name in names:
                yield from below(f"{path}/{name}", depth + 1)

    for place in sorted(set(places), key=order):
        inner = any(place.startswith(f"{one.rstrip('/')}/") for one in places)
        if not inner and os.path.lexists(inside(root, place)):
            yield from below(place, 0)


def describe(
    path: str, key: bytes, known: Mapping[str, Any] | None, pristine: Mapping[str, tuple[str, str]], root: str,
) -> State:
    """One path: its kind, mode, owner, and what is in it; ``changed`` is when the inode last did, as epoch."""
    real = inside(root, path)
    status = os.lstat(real)
    entry: State = {"owner": f"{status.st_uid}:{status.st_gid}", "changed": int(status.st_ctime)}
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(real)
        # A unit that is masked; the services tell it.
        return {} if target == "/dev/null" and path.startswith("/etc/systemd/") else {
            **entry, "type": "link", "target": target}
    entry["mode"] = f"{stat.S_IMODE(status.st_mode):04o}"
    if stat.S_ISDIR(status.st_mode):
        return {**entry, "type": "folder"}
    if not stat.S_ISREG(status.st_mode):
        return {**entry, "type": "special"}
    entry["type"] = "file"
    if NOT_READ.fullmatch(path):
        return entry
    stamp = f"{status.st_ino}-{status.st_size}-{status.st_ctime_ns}"
    if status.st_size > LARGE:
        return {**entry, "content": f"{status.st_size} bytes of {int(status.st_mtime)}"}
    if known and known.get("stamp") == stamp and "content" in known:
        return {**entry, "stamp": stamp, "content": known["content"],
                **({"package": known["package"]} if "package" in known else {})}
    digest, sum_of_package = hmac.new(key, digestmod="sha256"), hashlib.md5(usedforsecurity=False)
    package = pristine.get(path)
    with opened(real, follow=False) as file:
        while block := file.read(1 << 20):
            digest.update(block)
            if package:
                sum_of_package.update(block)
    entry |= {"stamp": stamp, "content": digest.hexdigest()}
    if package and sum_of_package.hexdigest() == package[1]:
        entry["package"] = package[0]
    return entry


# --- packages ---------------------------------------------------------------------------------------


def packages(root: str) -> tuple[State, dict[str, tuple[str, str]]]:
    """Installed packages with version and time of their installation, and the files of /etc that they brought.

    :raises OSError: dpkg's database cannot be read.
    """
    with open(inside(root, "/var/lib/dpkg/status"), encoding="utf-8", errors="replace") as file:
        text = file.read()
    installed: State = {}
    brought: dict[str, tuple[str, str]] = {}
    for stanza in text.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version|Architecture|Multi-Arch): *(.*)$", stanza, re.MULTILINE))
        if "Package" not in fields or not fields.get("Status", "").endswith(" installed"):
            continue
        name, architecture = fields["Package"], fields.get("Architecture", "")
        label = name if name not in installed else f"{name}:{architecture}"
        installed[label] = {"version": fields.get("Version", ""), "at": _package_time(root, name, architecture)}
        if conffiles := re.search(r"^Conffiles:\n((?: .*\n?)+)", stanza, re.MULTILINE):
            for path, checksum in re.findall(r"^ (/\S+) ([0-9a-f]{32})(?! obsolete)", conffiles[1], re.MULTILINE):
                brought[path] = (name, checksum)
    return installed, brought


def _package_time(root: str, name: str, architecture: str) -> int | None:
    for stem in (name, f"{name}:{architecture}"):
        try:
            return int(os.stat(inside(root, f"/var/lib/dpkg/info/{stem}.list")).st_mtime)
        except OSError:
            continue
    return None


# --- services ---------------------------------------------------------------------------------------


def services(runner: Runner, root: str = "/") -> State:
    """Units that are enabled or masked, that have failed, and that run although nobody started them by hand.

    :raises OSError: systemd does not answer.
    """
    states = {}
    for line in runner(COMMANDS["units"]).splitlines():
        name, state = (*line.split(), "", "")[:2]
        if state in UNIT_STATES and not undeclarable(f"{UNITS}/{name}", root):
            states[name] = UNIT_STATES[state]
    failed = [line.split()[0] for line in runner(COMMANDS["failed"]).splitlines() if line.strip()]
    running = []
    for line in runner(COMMANDS["running"]).splitlines():
        name, _, _, how = (*line.split(), "", "", "", "")[:4]
        if states.get(name) == "enabled" and (how in ("running", "waiting") or OUR_UNITS.fullmatch(name)):
            running.append(name)
    return {"states": states, "failed": sorted(failed), "running": sorted(running)}


# --- accounts ---------------------------------------------------------------------------------------


def accounts(root: str) -> State:
    """Users with what they are, and members of groups that can become root. Of passwords only whether there is one."""
    found: State = {}
    passwords: dict[str, str] = {}
    try:
        with open(inside(root, "/etc/shadow"), encoding="utf-8", errors="replace") as file:
            for name, password in (line.split(":")[:2] for line in file if line.count(":") > 2):
                passwords[name] = "no password asked" if not password else \
                    "password" if password.startswith("$") else "no password"
    except FileNotFoundError:
        pass
    for name, user, group, home, shell in _passwd(root):
        login = passwords.get(name, "no password")
        found[f"user {name}"] = f"{user}:{group}, {home}, {shell}, {login}"
    with open(inside(root, "/etc/group"), encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.strip().split(":")
            if len(fields) == 4 and fields[0] in POWERFUL:
                for member in filter(None, fields[3].split(",")):
                    found[f"user {member} in group {fields[0]}"] = "member"
    return found


def _passwd(root: str) -> Iterator[tuple[str, str, str, str, str]]:
    with open(inside(root, "/etc/passwd"), encoding="utf-8", errors="replace") as file:
        for line in file:
            fields = line.rstrip("\n").split(":")
            if len(fields) == 7:
                yield fields[0], fields[2], fields[3], fields[5], fields[6]


def keys(root: str, errors: list[dict[str, str]], blind: State) -> State:
    """Keys that open an account by SSH, as ``ssh-keygen -l`` names them; ``with options`` when they are restricted.

    The files are their users', so nothing in them is taken on trust: what is no file or too long is told of.
    """
    found: State = {}
    for name, _, _, home, _ in _passwd(root):
        for file in ("authorized_keys", "authorized_keys2"):
            path = f"{home.rstrip('/')}/.ssh/{file}"
            try:
                with opened(inside(root, path)) as lines:
                    # The kernel's own files have no size, and some never end.
                    size = os.fstat(lines.fileno()).st_size
                    text = (lines.read(min(size, MOST_KEYS)) or b"").decode(errors="replace")
                if size > MOST_KEYS:
                    raise OSError(errno.EFBIG, f"it has more than {MOST_KEYS} bytes")
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                errors.append({"about": path, "why": error.strerror or str(error)})
                blind["paths"].append(f"user {name}")
                continue
            for line in text.splitlines():
                found |= {f"user {name}: key SHA256:{key}": how for key, how in _keys_of(line)}
    return found


def _keys_of(line: str) -> Iterator[tuple[str, str]]:
    """Fingerprints of all that may be a key in one line, by what it holds: sshd knows more names of kinds than one, and
    the words of an option may look like a kind."""
    for word in re.finditer(r"(?<!\S)AAAA[A-Za-z0-9+/]+", line) if not line.lstrip().startswith("#") else ():
        text = word[0][:-1] if len(word[0]) % 4 == 1 else word[0]
        blob = base64.b64decode(text + "=" * (-len(text) % 4))
        if re.match(rb"(ssh|ecdsa|sk|webauthn)-", blob[4:]):
            yield (base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("="),
                   "with options" if len(line[:word.start()].split()) > 1 else "full access")


# --- ports ------------------------------------------------------------------------------------------


def ports(root: str) -> State:
    """Listening ports with the process behind them: ``tcp 22 sshd``, ``tcp 10248 kubelet (this machine only)``.

    Ports that the kernel hands out are no names; a process has one entry for all of them.
    """
    first_dynamic = 32768
    try:
        with open(inside(root, "/proc/sys/net/ipv4/ip_local_port_range"), encoding="ascii") as file:
            first_dynamic = int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        pass
    sockets: dict[str, tuple[str, int, bool]] = {}
    for protocol, listening in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        try:
            with open(inside(root, f"/proc/net/{protocol}"), encoding="ascii") as file:
                lines = file.read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[3] == listening:
                address, _, port = fields[1].partition(":")
                sockets[fields[9]] = (protocol[:3], int(port, 16), _loopback(address))
    owners = _owners(root, set(sockets))
    found: State = {}
    for inode, (protocol, number, alone) in sockets.items():
        # Flannel's tunnel has no process.
        process = owners.get(inode, "the kernel")
        dynamic = number >= first_dynamic
        # An unconnected UDP socket there is somebody's question, and X11 through SSH is its user's.
        if protocol == "udp" and (dynamic or number in DHCP_CLIENT):
            continue
        if alone and process == "sshd" and 6010 <= number < 6100:
            continue
        where = " (this machine only)" if alone else ""
        found[f"{protocol} {'any' if dynamic else number} {process}{where}"] = "listens"
    return dict(sorted(found.items()))


def _loopback(address: str) -> bool:
    """Whether an address of /proc/net, words of the machine's byte order, is this machine's own."""
    return address.endswith("7F") if len(address) == 8 else address in (
        "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


def _owners(root: str, inodes: set[str]) -> dict[str, str]:
    """Names of processes by the inodes of their sockets. Processes that end meanwhile are passed over."""
    found: dict[str, str] = {}
    proc = inside(root, "/proc")
    for pid in sorted(filter(str.isdigit, os.listdir(proc)), key=int):
        try:
            for handle in os.listdir(f"{proc}/{pid}/fd"):
                target = os.readlink(f"{proc}/{pid}/fd/{handle}")
                if target.startswith("socket:[") and target[8:-1] in inodes and target[8:-1] not in found:
                    with open(f"{proc}/{pid}/comm", encoding="utf-8", errors="replace") as file:
                        found[target[8:-1]] = file.read().strip()
        except OSError:
            continue
    return found


# --- packet filter and kernel -----------------------------------------------------------------------


def firewall(runner: Runner, root: str = "/") -> State:
    """Rules of the packet filter by family, table and chain, without those that Kubernetes keeps itself; of tables that
    iptables does not show, by ``nft``, family and table, the lines.

    :raises OSError: the rules cannot be read.
    """
    found: State = {}
    errors: list[dict[str, str]] = []
    filters = saved(runner, errors, root)
    tables = native(runner, filters, errors)
    if errors:
        raise OSError(f"{errors[0]['about']}: {errors[0]['why']}")
    for one in filters:
        family = one.program.replace(PROGRAMS[one.family][0], one.family)
        table = ""
        for line in one.rules.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith(":"):
                chain, policy = line[1:].split()[:2]
                # A table of another kind is there as soon as somebody asks for it.
                if policy != "-" and (family in PROGRAMS or policy != "ACCEPT"):
                    found[f"{family} {table} {chain}"] = [f"policy {policy}"]
            elif line.startswith("-A "):
                chain = line.split()[1]
                if not OTHERS_CHAINS.match(chain) and not OTHERS_RULES.search(line):
                    found.setdefault(f"{family} {table} {chain}", []).append(line.split(" ", 2)[2])
    return {**found, **{f"nft {name}": lines for name, lines in tables.items()}}


def kernel(root: str) -> State:
    """What the running kernel has for the settings and modules that the roles declare."""
    found: State = {}
    for path in ("/etc/sysctl.d/zz-observer-node.conf", "/etc/modules-load.d/observer-node.conf"):
        try:
            with open(inside(root, path), encoding="utf-8", errors="replace") as file:
                lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
        except OSError:
            continue
        for line in lines:
            name = line.partition("=")[0].strip()
            if "sysctl.d" in path:
                # The exceptional dash: a name with a dot of its own is written with slashes.
                where = name if "/" in name else name.replace(".", "/")
                try:
                    with open(inside(root, f"/proc/sys/{where}"), encoding="ascii") as file:
                        found[name] = " ".join(file.read().split())
                except OSError:
                    found[name] = "not there"
            else:
                module = name.replace("-", "_")
                found[f"module {name}"] = "loaded" if os.path.isdir(inside(root, f"/sys/module/{module}")) else "absent"
    return found
