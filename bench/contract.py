"""``python -m bench.contract``: what a check against the contract costs, beside what renders and checks the same files.

Needs no node. Writes the section ``contract`` of ``bench/results.json``. Every time is the median of several runs, and
what is compared runs in turn.
"""

from __future__ import annotations

import compileall
import gc
import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / name) for name in ("module_utils", "tests/unit", "testbed")]

from contract_edits import Mutation  # noqa: E402
from contract_inputs import CONTRACT, NOW, SAID, dumped, sealed, tree  # noqa: E402
from contract_inputs import judged as judged_with_all  # noqa: E402

from bed.cache import lock  # noqa: E402
from bed.settings import folders  # noqa: E402
from contract.engine import check  # noqa: E402
from contract.kustomize import OFFLINE, kustomize_command  # noqa: E402
from contract.manifests import load_manifests  # noqa: E402
from contract.model import ContractError  # noqa: E402
from contract.plain import load_plain  # noqa: E402
from contract.spec import Contract, load_contract  # noqa: E402
from contract_mutations import generated  # noqa: E402

RESULTS = ROOT / "bench" / "results.json"
OVERLAY = ROOT / "manifests" / "overlays" / "production"
NAMESPACE = SAID["environments"]["production"]["namespace"]
TOOLS = folders().cache / "tools"
KUBERNETES = "v1.34.0"
"""The schemas that kubeconform gets: the newest of the Kubernetes that K3s is pinned to."""

REPEATS = 15
SIZES = (100, 500, 1000, 2000, 5000)
"""Objects. Whether the time is linear is said of the second and the last."""

MADE_FOR = {
    "engine": "a contract across app, image, configuration and deployment",
    "kubeconform": "the schema of each object",
    "kube-score": "good practice, object by object and between some",
}


# --- programs ---------------------------------------------------------------------------------------


def go_program(name: str, module: Path, package: str, of: str) -> str:
    """A program built from a Go module whose sums are pinned; built once for each version.

    :param of: the module whose version is the program's.
    """
    version = re.search(rf"^\s*(?:require )?{re.escape(of)} (v\S+)", (module / "go.mod").read_text(), re.MULTILINE)
    assert version, f"{module}/go.mod does not require {of}"
    program = TOOLS / f"{name}-{version[1]}" / name
    with lock(TOOLS / f".{name}.lock"):
        if not program.is_file():
            print(f"[setup] {name}", flush=True)
            program.parent.mkdir(parents=True, exist_ok=True)
            new = program.with_suffix(".new")
            subprocess.run(["go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o",
                            new, package], cwd=module, check=True, env={**os.environ, "CGO_ENABLED": "0",
                                                                        "GOWORK": "off"})
            new.rename(program)
    return str(program)


def kubernetes_schemas() -> Path:
    """A folder with the JSON Schemas of Kubernetes' kinds, each with all that it refers to, as kubeconform wants them;
    no key is allowed that Kubernetes does not know."""
    pinned = (ROOT / "bench" / "schemas.txt").read_text()
    folder = TOOLS / f"kubernetes-schemas-{hashlib.sha256((KUBERNETES + pinned).encode()).hexdigest()[:16]}"
    with lock(TOOLS / ".kubernetes-schemas.lock"):
        if not folder.is_dir():
            print("[setup] JSON Schemas of Kubernetes", flush=True)
            with tempfile.TemporaryDirectory(dir=TOOLS) as scratch:
                pip = max(TOOLS.glob("uv-*/bin/pip"))
                subprocess.run([pip, "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                                "--require-hashes", "--dest", scratch, "--requirement",
                                ROOT / "bench" / "schemas.txt"], check=True)
                made = Path(scratch, "made")
                made.mkdir()
                (wheel,) = Path(scratch).glob("*.whl")
                unpack_schemas(wheel, made)
                made.rename(folder)
    return folder


def unpack_schemas(wheel: Path, folder: Path) -> None:
    """The schemas of ``KUBERNETES``, one file for each kind."""
    prefix = f"kubernetes_validate/kubernetes-json-schema/{KUBERNETES}-local-strict/"
    with zipfile.ZipFile(wheel) as archive:
        definitions = json.loads(archive.read(f"{prefix}_definitions.json"))["$defs"]
        for name in archive.namelist():
            if name.startswith(prefix) and name.endswith(".json") and "_definitions" not in name:
                schema = json.loads(archive.read(name))
                if "x-kubernetes-group-version-kind" in schema:
                    (folder / Path(name).name).write_text(json.dumps(self_contained(schema, definitions)))


def self_contained(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A schema with the definitions that it uses inside of it."""
    schema.pop("$id", None)
    used: dict[str, Any] = {}
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(reference := part.get("$ref"), str):
                name = reference.rpartition("/")[2]
                part["$ref"] = f"#/$defs/{name}"
                if name not in used:
                    used[name] = json.loads(json.dumps(definitions[name]))
                    waiting.append(used[name])
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return {**schema, "$defs": used}


@dataclass(frozen=True)
class Programs:
    """Commands, without what they are to work on."""

    kubectl: Sequence[str]
    kustomize: Sequence[str]
    kubeconform: Sequence[str]
    kube_score: Sequence[str]


def programs() -> Programs:
    """All that the engine is compared with, built where it is not yet."""
    kubectl = go_program("kubectl", ROOT / "testbed/go/kube", "k8s.io/kubernetes/cmd/kubectl", "k8s.io/kubernetes")
    rivals = [go_program(name, ROOT / "bench/go" / name, f"{module}/cmd/{name}", module) for name, module in (
        ("kubeconform", "github.com/yannh/kubeconform"), ("kube-score", "github.com/zegl/kube-score"))]
    schemas = f"{kubernetes_schemas()}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    return Programs(
        (kubectl, "kustomize"), kustomize_command((), os.environ),
        (rivals[0], "-strict", "-output", "json", "-ignore-missing-schemas", "-schema-location", schemas),
        (rivals[1], "score", "--output-format", "json", "--all-default-optional", "--kubernetes-version", "v1.34"))


# --- a whole check, from a cold process -------------------------------------------------------------


def in_turn(repeats: int, commands: Mapping[str, Sequence[str]], **environment: str) -> dict[str, list[float]]:
    """Milliseconds of each command, run one after the other again and again.

    :raises SystemExit: a command fails.
    """
    found: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(repeats + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            done = subprocess.run(command, cwd=ROOT, capture_output=True, env={**os.environ, **environment},
                                  check=False)
            if number:  # The first round brings files into memory.
                found[name].append((time.perf_counter() - started) * 1000)
            # kube-score says of right manifests, too, what could be better.
            if done.returncode and "kube_score" not in name:
                raise SystemExit(f"{name} exited with {done.returncode}:\n{done.stdout.decode()[-2000:]}"
                                 f"{done.stderr.decode()[-2000:]}")
    return found


def compiled(folder: Path) -> Path:
    """The package as it is once installed: with its bytecode."""
    shutil.copytree(ROOT / "module_utils" / "contract", folder / "contract",
                    ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    compileall.compile_dir(folder, quiet=2)
    return folder


def seal(folder: Path, namespace: str = NAMESPACE) -> Path:
    """A folder with SealedSecrets, which are no part of the overlay."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SAID["secrets"]:
        (folder / f"{name}.yaml").write_text(dumped(sealed(name, namespace)))
    return folder


def whole(tools: Programs, work: Path) -> dict[str, Any]:
    """Milliseconds of commands, each a new process, with the smallest and the largest of them."""
    rendered = work / "rendered.yaml"
    rendered.write_bytes(subprocess.run([*tools.kustomize, OVERLAY], capture_output=True, check=True).stdout)
    engine = (sys.executable, "-m", "contract", "check", "--contract", str(CONTRACT.relative_to(ROOT)),
              "--manifests", str(OVERLAY.relative_to(ROOT)), "--with", str(seal(work / "sealed")))
    times = in_turn(REPEATS, {
        "kubectl_kustomize": (*tools.kubectl, str(OVERLAY)),
        "check": engine,
        "kustomize_build": (*tools.kustomize, str(OVERLAY)),
        "check_with_app": (*engine, "--app", "testbed/observer"),
        "python_alone": (sys.executable, "-c", "pass"),
        "kubeconform": (*tools.kubeconform, str(rendered)),
        "kube_score": (*tools.kube_score, str(rendered)),
    }, PYTHONPATH=str(compiled(work / "package")))
    found: dict[str, Any] = {f"{name}_ms": round(statistics.median(values)) for name, values in times.items()}
    found["min_max_ms"] = {name: [round(min(values)), round(max(values))] for name, values in times.items()}
    alone = statistics.median(times["kubectl_kustomize"])
    for name in ("check", "check_with_app"):
        found[f"{name}_ratio"] = round(statistics.median(times[name]) / alone, 2)
    return {**found, "repeats": REPEATS}


# --- the engine alone -------------------------------------------------------------------------------


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds, and what the call gives."""
    gc.collect()
    gc.disable()  # As in a check: run.py.
    try:
        started = time.perf_counter()
        value = call()
        return (time.perf_counter() - started) * 1000, value
    finally:
        gc.enable()


def alone(work: Path) -> dict[str, float]:
    """Milliseconds in a process that has everything imported: loading, and comparing with facts that are new."""
    times: dict[str, list[float]] = {"load_contract": [], "load_manifests": [], "engine": []}
    for _ in range(REPEATS + 1):
        milliseconds, contract = timed(lambda: load_contract(CONTRACT))
        times["load_contract"].append(milliseconds)
        milliseconds, facts = timed(lambda: load_manifests(OVERLAY, extra=[seal(work / "sealed")]))
        times["load_manifests"].append(milliseconds)
        milliseconds, report = timed(lambda: check(contract, manifests=facts, now=NOW))  # noqa: B023
        times["engine"].append(milliseconds)
        assert report.status == 0
    return {f"{name}_ms": round(statistics.median(values[1:]), 1) for name, values in times.items()}


def copies(count: int) -> list[Any]:
    """That many objects: those of the overlay again and again in its namespace, each time with other names."""
    found = [item.body for item in load_manifests(OVERLAY).objects]
    bodies = [body for body in found if body["kind"] != "Namespace"]
    bodies += [sealed(name, NAMESPACE) for name in SAID["secrets"]]
    names = {body["metadata"]["name"] for body in bodies}

    def renamed(value: Any, number: int) -> Any:  # noqa: ANN401
        if isinstance(value, Mapping):
            return {key: renamed(item, number) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item, number) for item in value]
        return f"{value}-{number}" if value in names and number else value

    return [renamed(bodies[number % len(bodies)], number // len(bodies)) for number in range(count)]


def growing(work: Path) -> dict[str, Any]:
    """Milliseconds by number of objects in one check, as plain files: Kustomize itself needs a minute for the most."""
    contract = load_contract(CONTRACT)
    load, engine = {}, {}
    for count in SIZES:
        folder = work / f"of-{count}"
        folder.mkdir()
        objects = copies(count)
        for number in range(0, count, 100):
            (folder / f"{number:04}.yaml").write_text(dumped(*objects[number:number + 100]))
        load[count], facts = timed(lambda: load_plain(folder, folder))  # noqa: B023
        engine[count] = statistics.median(
            timed(lambda: check(contract, manifests=facts, now=NOW))[0] for _ in range(5))  # noqa: B023
        shutil.rmtree(folder)
    one, other = SIZES[1], SIZES[-1]
    return {"load_ms": {str(count): round(value) for count, value in load.items()},
            "engine_ms": {str(count): round(value, 1) for count, value in engine.items()},
            "load_growth": round(load[other] / other / (load[one] / one), 2),
            "engine_growth": round(engine[other] / other / (engine[one] / one), 2)}


# --- what each finds --------------------------------------------------------------------------------

Complaints = Counter[tuple[Any, ...]]
"""What a tool says, without the names of objects: another name of the same thing is no other complaint."""


@dataclass
class Renderer:
    """A folder with the right manifests, in which one mutation after the other is made, rendered and taken back."""

    command: Sequence[str]
    folder: Path

    def __post_init__(self) -> None:
        for name, text in tree().texts.items():
            if name.startswith("manifests/"):
                self.write(name, text)

    def write(self, name: str, text: str | None) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text)

    def rendered(self, overlay: str, files: Mapping[str, str | None]) -> str | None:
        place = self.folder / "manifests" / "overlays" / overlay
        try:
            for name, text in files.items():
                self.write(name, text)
            done = subprocess.run([*self.command, place], capture_output=True, text=True, check=False,
                                  env={**os.environ, **OFFLINE})
            beside = [path.read_text() for path in sorted((place / "sealed-secrets").glob("*.yaml"))]
        finally:
            for name in files:
                self.write(name, tree().texts.get(name))
        return None if done.returncode else "---\n".join([done.stdout, *beside])


RENDERERS: list[Renderer] = []
"""The one of this process."""


def begin(command: Sequence[str], folder: Path) -> None:
    RENDERERS.append(Renderer(command, Path(tempfile.mkdtemp(dir=folder))))


def render(overlay: str, files: Mapping[str, str | None]) -> str | None:
    return RENDERERS[0].rendered(overlay, files)


def by_kubeconform(command: Sequence[str], paths: Sequence[Path]) -> dict[str, Complaints]:
    """What kubeconform says of each file, by name."""
    found: dict[str, Complaints] = {path.stem: Counter() for path in paths}
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    for one in json.loads(done.stdout)["resources"] or ():
        # It names objects and their files in its messages.
        for error in one.get("validationErrors") or [{"path": "", "msg": re.sub(r"/\S+", "", one["msg"])}]:
            found[Path(one["filename"]).stem][one["kind"], error["path"], error["msg"]] += 1
    return found


def by_kube_score(command: Sequence[str], path: Path) -> Complaints:
    """What kube-score says of a file."""
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
    try:
        objects = json.loads(done.stdout)
    except ValueError:
        return Counter([("not read",)])
    found: Complaints = Counter()
    for one in objects or ():
        for result in one["checks"]:
            if not result["skipped"] and result["grade"] < 10:
                comments = tuple(sorted(comment["summary"] for comment in result["comments"] or ()))
                found[one["type_meta"]["kind"], result["check"]["id"], result["grade"], comments] += 1
    return found


def by_engine(contract: Contract, path: Path) -> Complaints:
    """What the engine says of a file, as it is said of kubeconform and kube-score: without looking at clause and line,
    which the tests of the contract look at."""
    try:
        report = check(contract, manifests=load_plain(path, path.parent), now=NOW)
    except ContractError:
        return Counter([("not read",)])
    return Counter((one.code, one.clause, str(one.actual)) for one in report.findings if not one.waiver)


def judge(command: Sequence[str], path: Path) -> tuple[str, Complaints, Complaints]:
    if not CONTRACTS:
        CONTRACTS.append(load_contract(CONTRACT))
    return path.stem, by_kube_score(command, path), by_engine(CONTRACTS[0], path)


CONTRACTS: list[Contract] = []
"""The one of this process."""


def of_manifests() -> list[Mutation]:
    """Mutations and equivalents that edit nothing but manifests."""
    return [one for one in generated() if one.edit.files and not one.edit.image
            and all(name.startswith("manifests/") for name in one.edit.files)]


def found_by_each(tools: Programs, work: Path) -> dict[str, Any]:
    """How many mutations of the manifests each tool finds: it complains of more than in the right ones.

    The tools get the same files, rendered. What Kustomize refuses to render is found by whoever renders, so it counts
    for all. What the engine does not find in them it is asked again with the app and the image beside them.
    """
    tree()  # Read once, for all processes.
    mutations = of_manifests()
    overlays = list(SAID["environments"])
    with ProcessPoolExecutor(os.cpu_count(), initializer=begin, initargs=(tools.kustomize, work)) as pool:
        edits = [*((overlay, {}) for overlay in overlays), *((one.edit.overlay, one.edit.files) for one in mutations)]
        texts = list(pool.map(render, *zip(*edits, strict=True), chunksize=8))
        files = work / "files"
        files.mkdir()
        paths = {}
        for text in texts:
            if text is not None:
                name = hashlib.sha256(text.encode()).hexdigest()
                paths[name] = files / f"{name}.yaml"
                paths[name].write_text(text)
        judged = {name: {"kube-score": score, "engine": engine} for name, score, engine in pool.map(
            judge, [tools.kube_score] * len(paths), paths.values(), chunksize=8)}
    for name, complaints in by_kubeconform(tools.kubeconform, list(paths.values())).items():
        judged[name]["kubeconform"] = complaints
    right = {overlay: judged[hashlib.sha256((text or "").encode()).hexdigest()]
             for overlay, text in zip(overlays, texts, strict=False)}
    tally = Tally()
    for one, text in zip(mutations, texts[len(overlays):], strict=True):
        mine = None if text is None else judged[hashlib.sha256(text.encode()).hexdigest()]
        tally.add(one, {tool: mine is None or bool(mine[tool] - right[one.edit.overlay][tool]) for tool in MADE_FOR},
                  refused=mine is None)
    missed = [one for one in mutations if one.name in tally.missed]
    for one, findings in zip(missed, judged_with_all([one.edit for one in missed], work), strict=True):
        if findings:
            tally.missed.remove(one.name)
            tally.beside.append(one.name)
    return tally.figures()


@dataclass
class Tally:
    """Mutations by what they break, and edits that break nothing; how many of them each tool complains of."""

    mutations: dict[str, Counter[str]] = field(default_factory=dict)
    equivalents: Counter[str] = field(default_factory=Counter)
    missed: list[str] = field(default_factory=list)
    """By the engine, of the manifests alone; in the end not even with the app and the image."""
    beside: list[str] = field(default_factory=list)
    """What the engine finds once it has the app and the image."""

    def add(self, one: Mutation, finds: Mapping[str, bool], refused: bool) -> None:
        counts = self.equivalents
        if one.expected:
            counts = self.mutations.setdefault(one.expected[0].clause.partition(".")[0], Counter())
            if not finds["engine"]:
                self.missed.append(one.name)
        counts["all"] += 1
        counts["refused by Kustomize"] += refused
        counts.update(tool for tool, found in finds.items() if found)

    def figures(self) -> dict[str, Any]:
        columns = ("all", "refused by Kustomize", *MADE_FOR)
        total: Counter[str] = sum(self.mutations.values(), Counter())
        rows = {**dict(sorted(self.mutations.items())), "total": total}
        return {"mutations": {name: {column: counts[column] for column in columns} for name, counts in rows.items()},
                "equivalents": {column: self.equivalents[column] for column in columns},
                "found_beside_the_app": self.beside, "missed_by_engine": self.missed, "made_for": MADE_FOR}


# --- results ----------------------------------------------------------------------------------------


def table(figures: Mapping[str, Any]) -> str:
    """The figures as they are read."""
    whole, alone, growing, found = (figures[name] for name in ("whole", "alone", "growing", "found"))

    def lines() -> Iterator[str]:
        def row(name: str, value: object, unit: str = "ms") -> str:
            return f"  {name:<72} {value!s:>8} {unit}"

        yield f"a new process each, median of {whole['repeats']}, in turn; the package with its bytecode, as installed"
        yield row("kubectl kustomize", whole["kubectl_kustomize_ms"])
        yield row("  the same by kustomize build", whole["kustomize_build_ms"])
        yield row("check of the overlay and its SealedSecrets, rendering included", whole["check_ms"])
        yield row("  times kubectl kustomize (at most 2)", whole["check_ratio"], "")
        yield row("  with the app and its Dockerfile", whole["check_with_app_ms"])
        yield row("  times kubectl kustomize", whole["check_with_app_ratio"], "")
        yield row("python that does nothing", whole["python_alone_ms"])
        yield row("kubeconform, of what was rendered before", whole["kubeconform_ms"])
        yield row("kube-score, of what was rendered before", whole["kube_score_ms"])
        yield "in a process that runs"
        yield row("the engine alone, of facts that are loaded (at most 100)", alone["engine_ms"])
        yield row("loading the contract", alone["load_contract_ms"])
        yield row("loading the overlay, rendering included", alone["load_manifests_ms"])
        for count, value in growing["engine_ms"].items():
            yield row(f"the engine, {int(count):,} objects (loading {growing['load_ms'][count]:,} ms)", value)
        yield row(f"  an object of {SIZES[-1]:,} to one of {SIZES[1]:,}: engine", growing["engine_growth"], "times")
        yield row("  and loading", growing["load_growth"], "times")
        yield "mutations of the manifests that are found, of the same rendered files"
        columns = list(found["equivalents"])
        yield f"  {'':<20}" + "".join(f" {column:>20}" for column in columns)
        for name, counts in found["mutations"].items():
            yield f"  {name:<20}" + "".join(f" {counts[column]:>20,}" for column in columns)
        yield f"  {'nothing is broken':<20}" + "".join(f" {found['equivalents'][column]:>20,}" for column in columns)
        for name, what in found["made_for"].items():
            yield f"  {name} is made for {what}"
        for name in found["found_beside_the_app"]:
            yield f"  found by the engine with the app and the image beside it: {name}"
        for name in found["missed_by_engine"]:
            yield f"  NOT FOUND by the engine: {name}"

    return "\n".join(lines())


def main() -> int:
    """Measure, write the results, print the table."""
    tools = programs()
    with tempfile.TemporaryDirectory(prefix="observer-node-bench-") as folder:
        work = Path(folder)
        figures = {"whole": whole(tools, work), "alone": alone(work), "growing": growing(work),
                   "found": found_by_each(tools, work)}
    results = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    RESULTS.write_text(json.dumps({**results, "contract": figures}, indent=2, sort_keys=True) + "\n")
    print(table(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
