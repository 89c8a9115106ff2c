"""Which claims get back the data that they had: volumes that were left behind, and folders that no volume knows.

Pure: objects and a look at the node's folders go in, and what has to be done comes out.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from living.volumes import node_of, path_of

from .client import KubeError, Object

PROVISIONER = "rancher.io/local-path"
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?")
"""What Kubernetes allows as a volume's name."""


@dataclass(frozen=True)
class Claim:
    """A claim that is declared; ``request`` is a quantity (``20Gi``)."""

    namespace: str
    name: str
    request: str
    modes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def ending(self) -> str:
        """With what the names of its folders end, as the provisioner writes them."""
        return f"_{self.namespace}_{self.name}"


@dataclass(frozen=True)
class Candidate:
    """A folder that may hold a claim's data.

    ``volume`` is the PersistentVolume that leads there, None when there is none; ``folder`` its ``files``, ``bytes``
    and ``newest``, None when it is on another node; ``reserved``: the volume goes to the claim whatever is done.
    """

    path: str
    volume: Object | None
    folder: Mapping[str, Any] | None
    reserved: bool = False

    @property
    def empty(self) -> bool:
        """What could not be counted is not taken for empty."""
        return self.folder is not None and self.folder["files"] == 0

    def __str__(self) -> str:
        where = f"PersistentVolume {self.volume['metadata']['name']}" if self.volume else "no PersistentVolume"
        if self.folder is None:
            return f"{self.path} ({where}, on node {node_of(self.volume or {}) or 'unknown'})"
        return f"{self.path} ({where}, {counted(self.folder)})"


@dataclass(frozen=True)
class Binding:
    """What has to be done for one claim: ``made``, a volume to be made, or ``patch`` (JSON patch) of ``volume``."""

    claim: Claim
    volume: str
    words: str
    made: Object | None = None
    patch: Sequence[Object] = ()

    def __str__(self) -> str:
        return f"PersistentVolume {self.volume}: {self.words}"


@dataclass
class Plan:
    """All that has to be done, and ``said``: what somebody should know."""

    bindings: list[Binding] = field(default_factory=list)
    said: list[str] = field(default_factory=list)


# --- what is declared, and what of it waits -------------------------------------------------------


def claims_of(objects: Iterable[Object], namespace: str, storage_class: str) -> list[Claim]:
    """The claims that objects declare in a namespace, those of StatefulSets' templates among them.

    Not those of another class, and none whose volume is named or selected where it is declared.
    """
    found = []
    for item in objects:
        if (item.get("metadata") or {}).get("namespace") != namespace:
            continue
        if item.get("kind") == "PersistentVolumeClaim":
            found.append((item["metadata"]["name"], item))
        elif item.get("kind") == "StatefulSet":
            spec = item.get("spec") or {}
            first = int((spec.get("ordinals") or {}).get("start") or 0)
            found += [(f"{template['metadata']['name']}-{item['metadata']['name']}-{number}", template)
                      for template in spec.get("volumeClaimTemplates") or ()
                      for number in range(first, first + int(spec.get("replicas", 1)))]
    claims = []
    for name, item in found:
        spec = item.get("spec") or {}
        if spec.get("storageClassName", storage_class) == storage_class and not (
                spec.get("volumeName") or spec.get("selector")):
            request = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "")
            claims.append(Claim(namespace, name, str(request), tuple(spec.get("accessModes") or ())))
    return claims


def living(items: Iterable[Object]) -> dict[str, Object]:
    """Objects by name, without those that are being deleted."""
    return {one["metadata"]["name"]: one for one in items if not one["metadata"].get("deletionTimestamp")}


def unbound(claims: Iterable[Claim], live: Mapping[str, Object]) -> list[Claim]:
    """Claims that are not there, or have no volume yet."""
    return [claim for claim in claims
            if not ((live.get(claim.name) or {}).get("spec") or {}).get("volumeName")]


def folder_of(volume: Object) -> str:
    """Its folder, written as the look at the node writes it."""
    return path_of(volume).rstrip("/")


def names(volume: Object, claim: Claim) -> bool:
    """Whether a volume is a claim's, or was."""
    wanted = (volume.get("spec") or {}).get("claimRef") or {}
    return (wanted.get("namespace"), wanted.get("name")) == (claim.namespace, claim.name)


# --- deciding -------------------------------------------------------------------------------------


class Decision:
    """Who binds to what.

    :param live: the namespace's claims by name, without those that are being deleted.
    :param volumes: all PersistentVolumes by name, without those that are being deleted.
    :param folders: folders of the node with ``path``, ``files``, ``bytes``, ``newest`` (None: not counted).
    :param picks: by claim the folder that somebody has chosen: its name, its path or its volume's name.
    :param node: the name of the node whose folders those are.
    """

    def __init__(
        self, live: Mapping[str, Object], volumes: Mapping[str, Object], folders: Iterable[Mapping[str, Any]],
        picks: Mapping[str, str], node: str, storage: str, storage_class: str,
    ) -> None:
        self.live = live
        self.volumes = volumes
        self.folders = {str(one["path"]).rstrip("/"): one for one in folders}
        self.picks = picks
        self.node = node
        self.storage = storage.rstrip("/")
        self.storage_class = storage_class
        self.used = {folder_of(volume): volume for volume in volumes.values() if folder_of(volume)}

    def plan(self, declared: Iterable[Claim]) -> Plan:
        """What has to be done for all claims together.

        :raises KubeError: somebody has to choose first, or has chosen what cannot be.
        """
        plan, doubts = Plan(), []
        declared = list(declared)
        waiting = unbound(declared, self.live)
        self._check_picks(declared, waiting)
        for claim in waiting:
            found = self.candidates(claim, plan.said)
            if claim.name in self.picks:
                chosen = [self._picked(claim, found)]
            else:
                chosen = [one for one in found if one.reserved] or [one for one in found if not one.empty] or found[:1]
            blind = any(one.folder is None and not one.reserved for one in chosen) and claim.name not in self.picks
            if len(chosen) > 1 or blind:
                doubts.append((claim, chosen))
            elif chosen:
                plan.said += [f"{one.path} is empty: claim {claim} gets {chosen[0].path}."
                              for one in found if one.empty and one is not chosen[0]]
                binding = self._binding(claim, chosen[0])
                plan.bindings += [binding] if binding else []
        if doubts:
            raise self._undecided(doubts)
        return plan

    def candidates(self, claim: Claim, said: list[str]) -> list[Candidate]:
        """Folders that may hold a claim's data, those of volumes first."""
        uid = ((self.live.get(claim.name) or {}).get("metadata") or {}).get("uid")
        found = []
        for name, volume in sorted(self.volumes.items()):
            if not names(volume, claim):
                continue
            path, held = folder_of(volume), volume["spec"]["claimRef"].get("uid")
            if node_of(volume) not in ("", self.node):
                found.append(Candidate(path, volume, None, reserved=not held or held == uid))
            elif path in self.folders:
                found.append(Candidate(path, volume, self.folders[path], reserved=not held or held == uid))
            else:
                said.append(f"PersistentVolume {name} was claim {claim}'s, and its folder {path} is not there.")
        # The folder that the provisioner is just making for a claim that waits.
        coming = f"{self.storage}/pvc-{uid}{claim.ending}"
        return found + [Candidate(path, None, folder) for path, folder in sorted(self.folders.items())
                        if path.endswith(claim.ending) and path not in self.used
                        and str(PurePosixPath(path).parent) == self.storage
                        and (path != coming or folder["files"] != 0)]

    def _check_picks(self, declared: list[Claim], waiting: list[Claim]) -> None:
        for name, wanted in self.picks.items():
            claim = next((one for one in declared if one.name == name), None)
            if claim is None:
                raise KubeError(f"observer_volumes has {name}, and no such claim is declared.",
                                f"Name one of {', '.join(one.name for one in declared)}, or take it out.")
            if claim not in waiting:
                bound = self.live[name]["spec"]["volumeName"]
                path = folder_of(self.volumes.get(bound) or {})
                if wanted not in (bound, path, PurePosixPath(path).name):
                    raise KubeError(
                        f"observer_volumes gives {name} the folder {wanted}, but it is bound to {path or bound}.",
                        f"Take it out; or stop what uses the claim, delete the claim (`kubectl -n {claim.namespace}"
                        f" delete pvc {name}`, its data stays) and run again.")

    def _picked(self, claim: Claim, found: list[Candidate]) -> Candidate:
        wanted = self.picks[claim.name].rstrip("/")

        def fits(path: str, volume: Object | None) -> bool:
            return wanted in (path, PurePosixPath(path).name, volume["metadata"]["name"] if volume else None)

        chosen = next((one for one in found if fits(one.path, one.volume)), None)
        for path, volume in self.used.items():
            if not chosen and fits(path, volume):
                other = volume["spec"].get("claimRef") or {}
                raise KubeError(
                    f"observer_volumes gives {claim.name} the folder {path}, but that is PersistentVolume"
                    f" {volume['metadata']['name']} of claim {other.get('namespace')}/{other.get('name')}.",
                    "Name another folder; or delete that PersistentVolume first, its data stays.")
        chosen = chosen or next((Candidate(path, None, folder) for path, folder in self.folders.items()
                                 if fits(path, None)), None)
        if chosen is None:
            raise KubeError(
                f"observer_volumes gives {claim.name} the folder {wanted}, and {self.storage} has no such folder.",
                f"There are for it: {'; '.join(map(str, found))}." if found else "Take it out: there is none for it.")
        reserved = next((one for one in found if one.reserved and one is not chosen), None)
        if reserved and reserved.volume:
            name = reserved.volume["metadata"]["name"]
            raise KubeError(
                f"observer_volumes gives {claim.name} the folder {chosen.path}, but PersistentVolume {name} is already"
                " reserved for it.", f"Delete that (`kubectl delete pv {name}`, its data stays) and run again.")
        return chosen

    def _undecided(self, doubts: Sequence[tuple[Claim, Sequence[Candidate]]]) -> KubeError:
        told = "; ".join(f"{len(found)} folders could be claim {claim}'s: {' and '.join(map(str, found))}"
                         if len(found) > 1 else f"the volume of claim {claim} is {found[0]}" for claim, found in doubts)
        picks = ", ".join(f"{claim.name}: {PurePosixPath(found[-1].path).name}" for claim, found in doubts)
        return KubeError(f"{told}. Nothing was changed.",
                         f"Look into them, and say in the inventory which is right: observer_volumes: {{{picks}}}")

    def _binding(self, claim: Claim, chosen: Candidate) -> Binding | None:
        if chosen.volume is None:
            return self._made(claim, chosen)
        volume, spec = chosen.volume, chosen.volume["spec"]
        patch: list[Object] = []
        words = []
        if not chosen.reserved:
            patch += [{"op": "test", "path": "/spec/claimRef/uid", "value": spec["claimRef"]["uid"]}]
            patch += [{"op": "remove", "path": f"/spec/claimRef/{key}"} for key in ("uid", "resourceVersion")
                      if key in spec["claimRef"]]
            words.append(f"free for claim {claim}")
        if size(spec["capacity"]["storage"]) < size(claim.request):
            patch.append({"op": "replace", "path": "/spec/capacity/storage", "value": claim.request})
            words.append("spec.capacity.storage")
        if set(claim.modes) - set(spec.get("accessModes") or ()):
            patch.append({"op": "add", "path": "/spec/accessModes", "value": list(claim.modes)})
            words.append("spec.accessModes")
        return Binding(claim, volume["metadata"]["name"], ", ".join(words), patch=patch) if words else None

    def _made(self, claim: Claim, chosen: Candidate) -> Binding:
        """A volume as the provisioner makes it, for this claim alone."""
        name = PurePosixPath(chosen.path).name.removesuffix(claim.ending)
        if not NAME.fullmatch(name) or name in self.volumes:
            name = f"pvc-{uuid.uuid5(uuid.NAMESPACE_URL, f'file://{self.node}{chosen.path}')}"
        volume = {
            "apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": name, "annotations": {
                "local.path.provisioner/selected-node": self.node, "pv.kubernetes.io/provisioned-by": PROVISIONER}},
            "spec": {
                "accessModes": list(claim.modes), "capacity": {"storage": claim.request}, "volumeMode": "Filesystem",
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace,
                             "name": claim.name},
                "local": {"path": chosen.path},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                    {"key": "kubernetes.io/hostname", "operator": "In", "values": [self.node]}]}]}},
                "persistentVolumeReclaimPolicy": "Retain", "storageClassName": self.storage_class,
            },
        }
        return Binding(claim, name, f"created for claim {claim}, from {chosen.path}", made=volume)


def size(text: object) -> float:
    """Bytes of a quantity; 0 of what is none."""
    from contract.workloads import quantity  # costs a tenth of a second, and a healthy system needs none of this

    return float(quantity(text) or 0)


def counted(folder: Mapping[str, Any]) -> str:
    """``12 files, 45.3 MiB, newest change 2026-11-22 01:02:03 UTC``."""
    if folder["files"] is None:
        return "too much to be counted"
    if not folder["files"]:
        return "no files"
    newest = datetime.fromtimestamp(folder["newest"] or 0, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    many = "1 file" if folder["files"] == 1 else f"{folder['files']} files"
    return f"{many}, {folder['bytes'] / 2**20:.1f} MiB, newest change {newest}"
