"""Seed 001's sections 2-1 and 2-1-1: what a node and the cluster have to be, and every claim from disk to app."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..model import Finding
from ..spec import Contract
from .node import quantity, roomy
from .seen import NO_POD, NOT_SEEN, STATE, Live, covering, pod_runs, status_of
from .wording import Cell, Text, Verdict, both, cells_of, chapter, held, judged, marked, size, table

NODE_COLUMNS = (both("Item", "확인 항목"), both("How it is checked", "확인 방법"), both("Expected", "기대 상태"), STATE)


def of_node(seen: Live, found: Sequence[Finding]) -> dict[str, Any]:
    """Seed 001's section 2-1 and 2-1-1: what was checked of each node, how, and what it should be."""
    tables = [table(both(f"Node {host}", f"노드 {host}"),
                    NODE_COLUMNS, node_rows(seen, node))
              for host, node in seen.nodes.items()]
    tables.append(table(both("Cluster", "클러스터"), NODE_COLUMNS, cluster_rows(seen)))
    tables.append(table(
        both("PVC - folder of the node - mount - path of the app", "PVC ↔ Node Disk ↔ Pod 경로 매핑"),
        ["PVC", both("Folder on the node", "Node 실제 경로"), "Pod mountPath", both("Used by the app", "App 사용 경로"),
         both("State", "검증")], path_rows(seen)))
    notes: list[Text] = [] if seen.nodes else [both("No node was looked at.", "확인한 노드 없음.")]
    verdict = judged([*cells_of(*tables), *([] if seen.nodes else [held(None)])], found)
    return chapter("node", both("The node (2-1)", "server (K3s 노드) (2-1)"), verdict, tables, notes, found)


def node_rows(seen: Live, node: Mapping[str, Any]) -> list[list[Cell]]:
    """What a node has to be."""
    contract, rows = seen.contract, list[list[Cell]]()
    k3s = node.get("k3s") or {}
    unit = "k3s-agent" if k3s.get("role") == "agent" else "k3s"
    wanted = str(contract.cluster.get("k3s") or "")
    runs = k3s.get("active") == "active" if k3s else None
    rows.append(["K3s", f"systemctl status {unit}", f"active, {wanted}".rstrip(", "),
                 held(runs if not wanted or runs is None else runs and k3s.get("version") == wanted,
                      f"{k3s.get('active') or '?'} {k3s.get('version') or ''}".strip() if k3s else NOT_SEEN)])
    # An agent on which the app does not run needs no folder of its settings, and no volumes.
    here = k3s.get("role") != "agent" or any(
        one.get("name") == contract.app_container.name for one in node.get("containers") or ())
    if (disk := contract.node.get("disk")) and (here or node.get("volumes")):
        storage = node.get("storage") or {}
        free, wanted_room = storage.get("free"), node.get("storage_free") or quantity(str(disk["free"]))
        enough, there = roomy(node, wanted_room)
        whole = None not in [one.get("bytes") for one in node.get("volumes") or ()]
        taken = f"{'' if whole else '>= '}{size(there - (free or 0))}"
        rows.append([both("Free disk", "노드 디스크 여유"), f"df -h {disk['path']}",
                     both(f"{size(wanted_room)} or more with the volumes", f"볼륨 포함 {size(wanted_room)} 이상 여유"),
                     held(enough, NOT_SEEN if free is None else both(f"{size(free)} free, {taken} in volumes",
                                                                     f"{size(free)} 여유, 볼륨 {taken}"))])
        rows.append([both("Where volumes are", "PVC 실제 저장 위치"), f"ls {disk['path']}",
                     both("a folder for each PVC", "PVC별 디렉토리 존재"),
                     held(storage.get("exists"), both(f"{len(node.get('volumes') or ())} folders",
                                                      f"디렉토리 {len(node.get('volumes') or ())}개"))])
    for path, rule in (contract.node.get("folders") or {}).items() if here else ():
        one = (node.get("folders") or {}).get(path)
        owner = f"{rule['uid']}:{rule['gid']} {rule['mode']}"
        real = None if one is None else f"{one.get('uid')}:{one.get('gid')} {one.get('mode')}" if one.get("exists") \
            else both("missing", "없음")
        rows.append([both("Folder of settings", "hostPath config 경로 권한"), f"stat {path}", owner,
                     held(None if real is None else real == owner, NOT_SEEN if real is None else real)])
    if zone := contract.node.get("timezone"):
        rows.append([both("Time zone", "시간대"), "timedatectl", zone,
                     held(None if not node.get("timezone") else node["timezone"] == zone,
                          str(node.get("timezone") or "") or NOT_SEEN)])
    clock = node.get("clock_synchronized")
    rows.append([both("Clock", "시각 동기화"), "timedatectl", both("synchronized", "동기화됨"),
                 # A container has the clock of its machine: nobody there knows who keeps it right.
                 held(True, both("synchronized", "동기화됨")) if clock else marked(
                     Verdict.RESERVED, both("nobody keeps it right here", "이 노드에서는 동기화하지 않음")
                     if clock is False else both("the node cannot say", "노드에서 확인 불가"))])
    through = (node.get("firewall") or {}).get("lets_pods_through") or {}
    known = [through.get("input"), through.get("forward")]
    lets = False if False in known else None if None in known else True
    rows.append([both("Firewall", "방화벽"), "iptables -S", both("lets pods through", "Pod 트래픽 허용"),
                 held(lets, NOT_SEEN if lets is None else both("lets them through", "허용") if lets
                      else both("eats pod traffic", "Pod 트래픽 차단"))])
    return rows


def cluster_rows(seen: Live) -> list[list[Cell]]:
    """What the cluster has to be."""
    contract, rows = seen.contract, list[list[Cell]]()
    wanted = str(contract.cluster.get("k3s") or "")
    for node in seen.listed("nodes"):
        rows.append([both(f"Node {node.get('name')}", f"노드 {node.get('name')}"), "kubectl get nodes -o wide",
                     f"STATUS=Ready, {wanted}".rstrip(", "),
                     held(bool(node.get("ready")) and (not wanted or node.get("version") == wanted),
                          f"{'Ready' if node.get('ready') else 'NotReady'} {node.get('version') or ''}".strip())])
    if not seen.listed("nodes"):
        rows.append([both("Nodes", "노드"), "kubectl get nodes -o wide", "STATUS=Ready", held(None, NOT_SEEN)])
    if rule := contract.cluster.get("storageClass"):
        one = next((one for one in seen.listed("storage_classes") if one.get("name") == rule["name"]), None)
        expected = f"{rule['name']} (default)" if rule.get("default") else rule["name"]
        rows.append(["StorageClass", "kubectl get sc", expected,
                     held((one is not None and (not rule.get("default") or bool(one.get("default"))))
                          if seen.answers else None,
                          NOT_SEEN if not seen.answers else both("missing", "없음") if one is None else
                          f"{one['name']}{' (default)' if one.get('default') else ''}, {one.get('reclaim')}")])
    for rule in contract.cluster.get("pods") or ():
        label, namespace = str(rule.get("label") or ""), str(rule["namespace"])
        key, _, value = label.partition("=")
        pods = [pod for pod in seen.pods(namespace=namespace)
                if not label or (pod.get("labels") or {}).get(key) == value]
        rows.append([value or namespace, f"kubectl get pods -n {namespace}" + (f" -l {label}" if label else ""),
                     "Running", held(None, NOT_SEEN) if not seen.answers else held(
                         any(map(pod_runs, pods)) if pods else False,
                         ", ".join(f"{pod.get('name')} {status_of(pod)}" for pod in pods) or NO_POD)])
    return rows


def path_rows(seen: Live) -> Iterator[list[Cell]]:
    """Every claim from the cluster down to the disk and up to the app."""
    for workload, container in seen.contract.containers():
        for target, mount in container.volumes.items():
            if seen.contract.resources[mount.source].type != "claim":
                continue
            volume = seen.volume_of(mount.source)
            on_disk = seen.node_volume(volume) if volume else None
            mounted = [any(one.get("target") == target for one in inside.get("mounts") or ())
                       for _, inside in seen.inside(workload.name, container.name) if inside]
            if not seen.answers:
                state = held(None, NOT_SEEN)
            elif volume is None:
                state = held(False, both("no volume", "볼륨 없음"))
            elif on_disk is None or not mounted:
                state = held(None, NOT_SEEN)
            else:
                state = held(all(mounted), both(
                    f"{size(on_disk.get('bytes'))}, files: {on_disk.get('files')}",
                    f"{size(on_disk.get('bytes'))}, 파일 {on_disk.get('files')}개") if all(mounted)
                    else both("not mounted", "마운트 없음"))
            yield [mount.source, str((volume or {}).get("path") or "-"), target, used_by(seen.contract, target), state]


def used_by(contract: Contract, target: str) -> str:
    """What of the app uses a mount: the functions of the paths on it."""
    functions = [f"{folder.function}()" for folder in contract.paths.values()
                 if folder.function and not folder.optional and covering(contract, folder.path)[0] == target]
    return ", ".join(functions) or posixpath.basename(target)
