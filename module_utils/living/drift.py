"""Drift: what a node has become since its last provision, as far as neither git nor the inventory knows of it.

:func:`snapshot` looks at the node it runs on; :func:`compare` finds what is between two looks. The first look, the
baseline, is taken at the end of a provision and lies on the node. The same code answers a play and the node's timer.
"""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from . import drift_cluster, drift_node
from .api import Api, ApiProblem
from .drift_cluster import HIDDEN, Reads
from .drift_node import OUR_UNITS, OURS, POWERFUL, Runner

FOLDER = "/var/lib/observer-node"
BASELINE = f"{FOLDER}/baseline.json"
SETTINGS = "/usr/local/lib/observer-node/watch.json"
SERVER_UNIT = "/etc/systemd/system/k3s.service"
"""An agent has another one, and no objects."""

FORMAT = 2
OLDER = (1,)
"""Formats that are still compared with, as far as they go; see :func:`_as_of`."""

State = dict[str, Any]
Drift = dict[str, Any]
"""``code``, ``kind``, ``subject``, ``what``, ``before``, ``after``, ``when`` (epoch or None), ``by``, ``ours`` (the
roles declare it and mend it), ``command`` (what to look at first)."""

PARTS = {"object": (), "file": ("files",), "package": ("packages",), "service": ("services",),
         "account": ("accounts", "keys"), "port": ("ports",), "firewall": ("firewall",), "kernel": ("kernel",)}
"""Kinds of drift, with the parts of a node's state in which they are found."""

MOST_FIELDS = 20
"""Fields of one object that are told."""

OBJECTS = "objects of the cluster"

OLD_UNITS = re.compile(r"/etc/systemd/system/(dbus-org|snap[.-]).*")
"""What no look of format 1 saw."""

AGAIN = "ansible-playbook site.yml -i inventories/<env>"


# --- looking ----------------------------------------------------------------------------------------


def settings(root: str = "/") -> dict[str, Any]:
    """What the role `watch` has set on this node; nothing when it is not there."""
    try:
        with open(drift_node.inside(root, SETTINGS), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def snapshot(
    baseline: Mapping[str, Any] | None = None, root: str = "/", api: Reads | None = None,
    runner: Runner = drift_node.run,
) -> State:
    """The state of this node now.

    :param baseline: an earlier one that it is going to be compared with: contents are hashed with the same key, and
        unchanged large files are not read again.
    :param api: the API server; left out, this node's.
    """
    given = settings(root)
    key = str((baseline or {}).get("key") or secrets.token_hex(32))
    node = drift_node.snapshot(
        key.encode(), ((baseline or {}).get("node") or {}).get("files") or {}, given.get("places") or (),
        given.get("storage") or "/opt/local-path-provisioner", root, runner)
    cluster: State
    try:
        cluster = drift_cluster.snapshot(
            api or Api(), key.encode(), ((baseline or {}).get("cluster") or {}).get("objects"))
    except ApiProblem as problem:
        server = problem.kind != "none" or os.path.exists(drift_node.inside(root, SERVER_UNIT))
        cluster = {"answers": False, "why": str(problem), "objects": None, "errors": [], "server": server,
                   "api": problem.kind in ("forbidden", "missing", "status")}
    return {"format": FORMAT, "at": int(time.time()), "key": key, "node": node, "cluster": cluster}


def read_baseline(path: str = BASELINE) -> State | None:
    """The node's baseline, or nothing when there is none that can be understood."""
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and found.get("format") in (FORMAT, *OLDER) else None


def settled(last: Mapping[str, Any] | None, look: Callable[[Mapping[str, Any] | None], State] = snapshot,
            pauses: Sequence[float] = (1, 3)) -> State:
    """A look for a baseline: once more, after each of these pauses (s), while a whole part could not be read. What is
    not in a baseline is not compared until the next one."""
    now = look(last)
    for pause in pauses:
        if not missing(now):
            break
        time.sleep(pause)
        now = look(last)
    return now


def missing(state: Mapping[str, Any]) -> list[str]:
    """Parts of a state that could not be read."""
    cluster = state["cluster"]
    return [*(part for parts in PARTS.values() for part in parts if state["node"].get(part) is None),
            *(["objects"] if cluster["objects"] is None and cluster.get("server", True) else [])]


def record(
    last: Mapping[str, Any] | None, now: State, release: str, commit: str, ran: Collection[str] | None = None,
) -> tuple[State, list[Drift]]:
    """The next baseline, and what it accepts: what came about beside the declared things since the last one.

    Objects that nobody declared stay drift. That is known by their managers; where an object has none it is noted.
    A part that could not be read is taken over from the last baseline; that it could not stays among its errors.

    :param ran: roles that the run had, when it had not all of them. What the others declare has not been mended, and
        is compared with the last baseline still.
    """
    found = compare(last, now) if last else []
    accepted = [one for one in found if not one["ours"] and one["kind"] != "object"]
    strangers = {one["subject"] for one in found if one["code"] == "DRIFT-01"}
    for title, item in (now["cluster"]["objects"] or {}).items():
        if not item["managed"] and title in strangers:
            item["stray"] = True
    if last:
        for part in missing(now):
            where = "cluster" if part == "objects" else "node"
            now[where][part] = copy.deepcopy((last.get(where) or {}).get(part))
            if part in ("files", "keys"):  # with what could not be seen of it
                now["node"]["blind"] = copy.deepcopy(last["node"].get("blind") or {})
    if last and ran is not None:
        _keep(last, now, ran)
    return {**now, "release": release, "commit": commit, "accepted": list(map(line, accepted))}, accepted


def _keep(last: Mapping[str, Any], now: State, ran: Collection[str]) -> None:
    """Take over from the last baseline what roles declare that did not run."""
    old, new = last["node"], now["node"]
    for before, after in ((old["files"], new["files"]), *(
            ((old["services"]["states"], new["services"]["states"]),) if old["services"] and new["services"] else ())):
        for name in {*(before or {}), *(after or {})}:
            role = drift_node.role_of(name)
            if before is not None and after is not None and role and role not in ran:
                after.pop(name, None)
                after.update({name: before[name]} if name in before else {})
    if "node" not in ran:
        rules = new["firewall"] or {}
        # Of filters that the last baseline knew nothing of there is nothing to take over.
        unknown = set(rules) - set(_as_of(last, new)["firewall"] or {})
        new["kernel"] = old["kernel"] if old["kernel"] is not None else new["kernel"]
        new["firewall"] = {**old["firewall"], **{chain: rules[chain] for chain in unknown}} \
            if old["firewall"] is not None else new["firewall"]
    objects = now["cluster"]["objects"]
    for title, item in (last["cluster"]["objects"] or {}).items() if objects is not None else ():
        if item["ours"] and not objects.get(title, {}).get("ours"):
            objects[title] = item
        elif item["ours"] and "observer" not in ran:
            objects[title]["fields"] = {**item["fields"], **objects[title]["fields"]}
            objects[title]["sets"] += [one for one in item["sets"] if one not in objects[title]["sets"]]


def write_file(path: str, text: str, mode: int) -> None:
    """Write a file at once or not at all, with this mode whatever the umask.

    :raises OSError: it cannot be written.
    """
    handle, temporary = tempfile.mkstemp(prefix=".observer-node-", dir=os.path.dirname(path))
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# --- comparing --------------------------------------------------------------------------------------


def compare(baseline: Mapping[str, Any], now: Mapping[str, Any]) -> list[Drift]:
    """What differs, what is ours first. A part that could not be read in one of the two is not compared."""
    before, after = baseline.get("node") or {}, _as_of(baseline, now.get("node") or {})
    found = [
        *_objects(baseline.get("cluster") or {}, now.get("cluster") or {}),
        *_parts(before, after, "files", _files), *_parts(before, after, "services", _services),
        *_parts(before, after, "accounts", _accounts), *_parts(before, after, "keys", _keys),
        *_parts(before, after, "firewall", _firewall), *_parts(before, after, "kernel", _kernel),
        *_parts(before, after, "packages", _packages), *_parts(before, after, "ports", _ports),
    ]
    return sorted(found, key=lambda one: (not one["ours"], one["code"], one["subject"], one["what"]))


def unlooked(now: Mapping[str, Any], baseline: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """What could not be looked at: ``about`` and ``why``. An agent has no objects to look at.

    :param baseline: what ``now`` is compared with: what was not looked at then is compared with nothing, or with what
        was before that; ``command`` says how that is mended.
    """
    cluster = now.get("cluster") or {}
    found = [*((now.get("node") or {}).get("errors") or []), *(cluster.get("errors") or [])]
    if not cluster.get("answers") and cluster.get("server", True):
        found.insert(0, {"about": OBJECTS, "why": str(cluster.get("why") or "nothing is known")})
    if not baseline:
        return found
    told = {one["about"] for one in found}
    if baseline.get("format") in OLDER:
        found.append({"about": "the baseline", "command": AGAIN,
                      "why": "an older version wrote it, and what it knew nothing of is not compared; the next"
                             " provision writes a new one"})
    # Servers have become agents, and agents servers.
    then = [one for one in unlooked(baseline) if one["about"] != OBJECTS or cluster.get("server", True)]
    if (baseline.get("cluster") or {}).get("objects") is None and cluster.get("objects") is not None \
            and OBJECTS not in {one["about"] for one in then}:
        then.append({"about": OBJECTS, "why": "there were none"})
    return [*found, *({"about": one["about"], "command": AGAIN,
                       "why": f"the last provision could not read it ({one['why']}); the next one records it"}
                      for one in then if one["about"] not in told)]


def _as_of(baseline: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """A node's state as a look of the baseline's format would have seen it."""
    if baseline.get("format") not in OLDER:
        return dict(node)
    files, services, firewall = (node.get(part) for part in ("files", "services", "firewall"))
    return {**node,
            "files": files and {path: one for path, one in files.items() if not OLD_UNITS.fullmatch(path)},
            "services": services and {
                **services, "states": {name: one for name, one in services["states"].items()
                                       if not name.startswith("snap")},
                "running": [name for name in services["running"] if not name.startswith("snap")]},
            "firewall": firewall and {chain: rules for chain, rules in firewall.items()
                                      if chain.startswith(("IPv4 ", "IPv6 "))}}


def _parts(before: Mapping[str, Any], after: Mapping[str, Any], name: str, compared: Any) -> Iterator[Drift]:  # noqa: ANN401
    """What is compared of a part: what was seen, or not found, both times."""
    old, new = before.get(name), after.get(name)
    if name in ("files", "keys") and old is not None and new is not None:
        hidden = {one for one in {*old, *new} if drift_node.unseen(before, one) or drift_node.unseen(after, one)
                  or (one not in old and name == "files" and drift_node.beyond(before, one))}
        old, new = ({one: what for one, what in part.items() if one not in hidden} for part in (old, new))
    if old is not None and new is not None:
        yield from compared(old, new)


def _drift(
    code: int, kind: str, subject: str, what: str, before: object, after: object, command: str, *,
    when: int | None = None, by: str = "", ours: bool = False,
) -> Drift:
    return {"code": f"DRIFT-{code:02}", "kind": kind, "subject": subject, "what": what,
            "before": None if before is None else str(before), "after": None if after is None else str(after),
            "when": when, "by": by, "ours": ours, "command": command}


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield name, before.get(name), after.get(name)


def _kubectl(title: str, verb: str = "get", end: str = "-o yaml --show-managed-fields") -> str:
    kind, _, name = title.partition(" ")
    namespace, _, name = name.rpartition("/")
    return f"sudo kubectl {f'-n {namespace} ' if namespace else ''}{verb} {kind.lower()} {name} {end}".strip()


def _objects(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Drift]:
    after = now.get("objects")
    if after is None:
        return
    known = before.get("objects") or {}
    strangers = {title: item for title, item in after.items()
                 if _undeclared(title, item, known) and (item["by"] or _listed(before, title))}
    new_namespaces = {title.partition(" ")[2] for title in strangers if title.startswith("Namespace ")}
    told: dict[str, list[str]] = {}
    for title, item in sorted(strangers.items()):
        namespace = title.partition(" ")[2].rpartition("/")[0]
        # A namespace stands for all that is in it, and a release of Helm for all that it made.
        subject = f"Namespace {namespace}" if namespace in new_namespaces else \
            f"Helm release {item['release']}" if item.get("release") else title
        told.setdefault(subject, []).append(title)
    for subject, titles in told.items():
        first = strangers.get(subject) or strangers[titles[0]]
        more = [title for title in titles if title != subject]
        yield _drift(1, "object", subject, "undeclared", "none", f"with {len(more)} objects" if more else "there",
                     _kubectl(titles[0] if subject not in strangers else subject), when=first["created"],
                     by=first["by"])
    for title, item in sorted(after.items()):
        if title not in strangers:
            yield from _edits(title, known.get(title), item)
    for title, item in sorted(known.items()):
        if item.get("ours") and title not in after and _listed(now, title):
            yield _drift(4, "object", title, "gone", "there", "none", AGAIN, ours=True)


def _listed(cluster: Mapping[str, Any], title: str) -> bool:
    """Whether a look saw the objects of this one's kind. A kind that is gone from the cluster has none."""
    return not cluster.get("errors") or title.partition(" ")[0] in cluster.get("kinds", (title.partition(" ")[0],))


def _undeclared(title: str, item: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    if item["ours"]:
        return False
    if known.get(title, {}).get("ours"):
        return False  # Of that name there was one of ours; it was replaced.
    # An empty object has nobody's name on it; what counts is that it is new.
    return bool(item["by"]) or (
        not item["managed"] and bool(known) and (title not in known or bool(known[title].get("stray"))))


def _edits(title: str, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterator[Drift]:
    """Fields that were edited, added or removed by hand."""
    if before and before.get("ours") and not after["ours"]:
        yield _drift(2, "object", title, "replaced by another of this name", "declared", "not declared",
                     _kubectl(title), when=after["created"], by=after["by"], ours=True)
        return
    found: dict[str, Drift] = {}
    others = after.get("others") or {}
    for path, value in ((before or {}).get("fields") or {}).items():
        mine = (after.get("fields") or {}).get(path)
        other = others.get(path)
        if mine == value or (mine is None and other and other["value"] == value):
            continue
        if mine is not None:
            found[path] = _edit(title, path, value, mine, None, "observer-node", after["ours"])
        elif other:
            found[path] = _edit(title, path, value, other["value"], other["at"], other["by"], after["ours"])
        elif path in (after.get("unowned") or {}):
            if after["unowned"][path] != value:
                found[path] = _edit(title, path, value, after["unowned"][path], None, "", after["ours"])
        elif not any(one.startswith((f"{path}.", f"{path}[")) for one in (*others, *(after.get("fields") or {}))):
            found[path] = _edit(title, path, value, None, None, "", after["ours"])
    for path, other in others.items():
        value = ((before or {}).get("fields") or {}).get(path)
        if not other["system"] and path not in found and path not in (after.get("fields") or {}) \
                and value != other["value"]:
            found[path] = _edit(title, path, value, other["value"], other["at"], other["by"], after["ours"])
    for number, (_, drift) in enumerate(sorted(found.items())):
        if number < MOST_FIELDS:
            yield drift


def _edit(
    title: str, path: str, before: str | None, after: str | None, when: int | None, by: str, ours: bool,
) -> Drift:
    return _drift(2 if ours else 3, "object", title, path, _seen(before), _seen(after), _kubectl(title), when=when,
                  by=by, ours=ours)


def _seen(value: str | None) -> str | None:
    """A value without the hash that tells hidden or long ones apart."""
    return value and re.sub(rf"^({re.escape(HIDDEN)}) [0-9a-f]{{16}}$|(\.\.\.) [0-9a-f]{{16}}$",
                            lambda found: found[1] or found[2], value)


def _files(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Drift]:
    for path, old, new in _differences(before, after):
        ours = bool(OURS.fullmatch(path))
        look = f"sudo ls -ld {path}"
        if old is None:
            # A package brought it, and is told itself.
            if not new.get("package"):
                yield _drift(8, "file", path, "new", "none", new["type"], look, when=new["changed"], ours=ours)
        elif new is None:
            if not (old.get("package") and not ours):
                yield _drift(6 if ours else 9, "file", path, "gone", old["type"], "none",
                             AGAIN if ours else f"sudo ls -la {os.path.dirname(path)}", ours=ours)
        else:
            same = old["type"] == new["type"] and old.get("content") == new.get("content") \
                and old.get("target") == new.get("target")
            if not same and not new.get("package"):
                yield _drift(5 if ours else 9, "file", path, "target" if new["type"] == "link" else "content",
                             old.get("target", "as provisioned"), new.get("target", "edited"),
                             f"sudo stat {path}", when=new["changed"], ours=ours)
            for what in ("mode", "owner"):
                if old.get(what) != new.get(what) and old["type"] == new["type"]:
                    yield _drift(7, "file", path, what, old.get(what), new.get(what), look, when=new["changed"],
                                 ours=ours)


def _packages(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Drift]:
    for name in sorted(before.keys() | after.keys()):
        old, new = (one.get(name) and one[name]["version"] for one in (before, after))
        when = after[name]["at"] if new else None
        look = f"grep ' {name}:' /var/log/dpkg.log"
        if old is None:
            yield _drift(10, "package", name, "installed", "none", new, look, when=when)
        elif new is None:
            yield _drift(11, "package", name, "removed", old, "none", look)
        elif old != new:
            yield _drift(12, "package", name, "version", old, new, look, when=when)


def _services(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Drift]:
    for name, old, new in _differences(before["states"], after["states"]):
        ours = bool(OUR_UNITS.fullmatch(name))
        yield _drift(13, "service", name, new or "disabled", old or "disabled", new or "disabled",
                     f"systemctl status {name}", ours=ours)
    for name in sorted(set(after["failed"]) - set(before["failed"])):
        yield _drift(14, "service", name, "failed", "running" if name in before["running"] else "not failed", "failed",
                     f"journalctl -u {name} -n 50", ours=bool(OUR_UNITS.fullmatch(name)))
    for name in sorted(set(before["running"]) - set(after["running"]) - set(after["failed"])):
        # A unit that was switched off, too, is told already.
        if after["states"].get(name) == before["states"].get(name):
            yield _drift(14, "service", name, "stopped", "running", "stopped", f"systemctl status {name}",
                         ours=bool(OUR_UNITS.fullmatch(name)))


def _accounts(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Drift]:
    for subject, old, new in _differences(before, after):
        group = subject.rpartition(" in group ")[2]
        what = "new" if old is None else "gone" if new is None else "changed"
        yield _drift(15, "account", subject, what, old or "none", new or "none",
                     f"getent group {group}" if group in POWERFUL else f"getent passwd {subject.split()[1]}")


def _keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Drift]:
    for subject, old, new in _differences(before, after):
        user = subject.split()[1].rstrip(":")
        yield _drift(16, "account", subject, "new" if old is None else "gone" if new is None else "changed",
                     old or "none", new or "none", f"sudo ssh-keygen -lf ~{user}/.ssh/authorized_keys")


def _ports(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Drift]:
    for subject, _, new in _differences(before, after):
        # A process that stopped listening is a service that stopped; or it is of no harm.
        if new:
            yield _drift(17, "port", subject, "new", "closed", "listens", "sudo ss -lntup")


def _firewall(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Drift]:
    for chain, old, new in _differences(before, after):
        family, table, name = chain.split(" ", 2)
        if family == "nft":
            look = f"sudo nft list table {table} {name}"
            if old is None or new is None:
                what = ("new", "none", "there") if old is None else ("gone", "there", "none")
                yield _drift(18, "firewall", chain, *what, look)
                continue
        else:
            program = family.replace("IPv4", "iptables").replace("IPv6", "ip6tables")
            look = f"sudo {program} -t {table} -S {name}"
        gone = [rule for rule in old or [] if rule not in (new or [])]
        come = [rule for rule in new or [] if rule not in (old or [])]
        mark = bool(re.search(r"OBSERVER-NODE", " ".join([chain, *gone, *come])))
        for rule in gone:
            yield _drift(18, "firewall", f"{chain}: {rule}", "gone", "there", "none", look, ours=mark)
        for rule in come:
            yield _drift(18, "firewall", f"{chain}: {rule}", "new", "none", "there", look, ours=mark)
        if not gone and not come:
            yield _drift(18, "firewall", chain, "order", "as provisioned", "another order", look, ours=True)


def _kernel(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Drift]:
    for name, old, new in _differences(before, after):
        # What is no longer declared in the file is the file's drift.
        if old is not None and new is not None:
            look = f"lsmod | grep {name[7:]}" if name.startswith("module ") else f"sysctl {name}"
            yield _drift(19, "kernel", name, "value", old, new, look, ours=True)


# --- words ------------------------------------------------------------------------------------------


def line(drift: Mapping[str, Any]) -> str:
    """A drift on one line, for people: what, from what to what, when and by whom."""
    subject, what, before, after = (drift[key] for key in ("subject", "what", "before", "after"))
    simple = {"undeclared": "is there and nobody declared it", "gone": "is gone", "new": "is new",
              "installed": f"is installed ({after})", "removed": f"is removed (it was {before})",
              "failed": "has failed", "stopped": "does not run", "content": "was edited",
              "order": "has its rules in another order", "replaced by another of this name":
              "was replaced by another of this name"}
    text = simple.get(what) or (f"{what} is {_or_none(after)}, and was {_or_none(before)}" if before != after else what)
    if drift["kind"] == "service" and what in ("enabled", "disabled", "masked"):
        text = f"is {after}, and was {before}"
    known = [f"by {drift['by']}"] if drift["by"] else []
    known += [f"at {moment(drift['when'])}"] if drift["when"] else []
    return f"{subject}: {text}{' (' + ', '.join(known) + ')' if known else ''}"


def _or_none(value: object) -> str:
    return "none" if value in (None, "") else str(value)


def moment(epoch: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(epoch)) if epoch else "unknown"


def to_do(drift: Mapping[str, Any]) -> str:
    """What to do about a drift, in one sentence."""
    if drift["ours"]:
        return f"Put it back by `{AGAIN}` on the controller, or change what is declared there."
    if drift["kind"] == "object":
        return f"Declare it in manifests/ or remove it; look first: `{drift['command']}`"
    return f"Undo it, or provision again to accept it; look first: `{drift['command']}`"


def counts(drifts: Iterable[Mapping[str, Any]], compared: Iterable[str] = PARTS) -> dict[str, int]:
    """Number of drifts by kind, of every kind that could be compared."""
    kinds: Sequence[str] = [str(one["kind"]) for one in drifts]
    return {kind: kinds.count(kind) for kind in compared}


def compared(baseline: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[str]:
    """Kinds of which something could be said: who wrote to an object is known without a baseline, too."""
    before, after = (baseline or {}).get("node") or {}, now.get("node") or {}
    return [kind for kind, parts in PARTS.items()
            if all(before.get(part) is not None and after.get(part) is not None for part in parts)
            and (kind != "object" or (now.get("cluster") or {}).get("objects") is not None)]
