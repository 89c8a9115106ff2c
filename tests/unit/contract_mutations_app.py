"""Mutations of the app's source, its `.env.example` and Dockerfile, and of the image that was built of it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import Any

from contract_edits import (
    APP,
    CONTAINER,
    IMAGE,
    At,
    Mutation,
    clause_of,
    edited,
    found,
    rule,
    set_to,
)
from contract_inputs import ARCHIVE, SAID, Edit, Image, tree

from contract.model import Layer

SOURCES = "app/src/observer"
PATHS = f"{SOURCES}/paths.py"
EXAMPLE = "app/.env.example"
DOCKERFILE = "app/docker/Dockerfile"
READS = {name: text for name, text in tree().texts.items() if name.startswith(SOURCES) and name.endswith(".py")}


def in_app(name: str, line: int) -> At:
    """A place as the app's loaders name it: below the app's folder."""
    return name.removeprefix("app/"), line


RUNNER = f"{SOURCES}/observer_runner.py"
LISTENS = in_app(RUNNER, edited(RUNNER, "sock.bind", "")[1])


def in_source(name: str, old: str, new: str, *clauses: str, file: str, layer: Layer = APP, more: Sequence[At] = ()
              ) -> Iterator[Mutation]:
    """A text of the app, written otherwise in one place; the finding is there."""
    text, line = edited(file, old, new)
    yield Mutation(name, Edit({file: text}), found(clauses, layer, in_app(file, line), *more))


def everywhere(name: str, new: str) -> tuple[dict[str, str | None], list[At]]:
    """All sources with a text in quotes written otherwise, and the lines of that."""
    files: dict[str, str | None] = {}
    lines = []
    for file, text in READS.items():
        if f'"{name}"' in text:
            files[file] = text.replace(f'"{name}"', f'"{new}"')
            lines += [in_app(file, number) for number, line in enumerate(text.splitlines(), 1) if f'"{name}"' in line]
    assert files, name
    return files, lines


def example_line(name: str) -> tuple[str, int]:
    """The line of `.env.example` that has a variable."""
    for number, line in enumerate(tree().texts[EXAMPLE].splitlines(keepends=True), 1):
        if line.startswith(f"{name}="):
            return line, number
    raise KeyError(name)


def schema_of(name: str, clause: str, other: str) -> Iterator[Mutation]:
    """`.env.example`: a variable that is not there, has another name, or another default."""
    line, number = example_line(name)
    text = tree().texts[EXAMPLE]
    there, lacking = in_app(EXAMPLE, number), in_app(EXAMPLE, 0)
    yield Mutation(f".env.example lacks {name}", Edit({EXAMPLE: text.replace(line, "")}), found([clause], APP, lacking))
    yield Mutation(f".env.example has {name}X", Edit({EXAMPLE: text.replace(line, f"{name}X{line[len(name):]}")}),
                   found([clause], APP, lacking) + found([f"environment.{name}X"], APP, there))
    default = re.match(r"[^=]*=(\S*)", line)
    assert default
    if other:
        changed_line = f"{name}={other}{line[default.end():]}"
        yield Mutation(f".env.example has {name}={other}", Edit({EXAMPLE: text.replace(line, changed_line)}),
                       found([clause], APP, there))


def fallback(name: str, value: str, clause: str) -> Iterator[Mutation]:
    """The Dockerfile's ENV and the built image's."""
    text = tree().texts[DOCKERFILE]
    had = re.search(rf"^ +{name}=(.*?)( \\)?$", text, re.MULTILINE)
    old, new = (had[0], f"    {name}={value}{had[2] or ''}") if had else (
        "    TZ=Asia/Seoul \\\n", f"    TZ=Asia/Seoul \\\n    {name}={value} \\\n")
    written, line = edited(DOCKERFILE, old, new)
    yield Mutation(f"ENV {name}={value}", Edit({DOCKERFILE: written}),
                   found([clause], IMAGE, in_app(DOCKERFILE, line + (not had))))
    written, line = edited(DOCKERFILE, "WORKDIR /app\n", f"WORKDIR /app\nENV {name}={value}\n")
    yield Mutation(f"ENV {name}={value} follows", Edit({DOCKERFILE: written}),
                   found([clause], IMAGE, in_app(DOCKERFILE, line + 1)))
    image = Image.right()
    yield Mutation(f"an image with {name}={value}", Edit(image=dataclasses.replace(
        image, environment={**image.environment, name: value})), found([clause], IMAGE, (ARCHIVE, 0)))


def variable_of_the_app(name: str) -> Iterator[Mutation]:
    """What the app reads, falls back to, and tells of in `.env.example`; what the image falls back to."""
    clause = clause_of(name)
    said = SAID["workloads"]["observer"]["containers"]["observer"]["variables"][name]
    secret = any(source.startswith("Secret/") for source in said["source"])
    wrong = "x" if said.get("value") or said.get("values") else ""
    files, lines = everywhere(name, f"{name}X")
    lost = [in_app(EXAMPLE, example_line(name)[1])]
    if clause == "ports.app":
        lost.append(LISTENS)
    # What the interpreter and the C library read need not stand in the source.
    yield Mutation(f"the app reads {name}X", Edit(files), found([f"environment.{name}X"], APP, *lines) + (
        () if name in ("TZ", "PYTHONUNBUFFERED") else found([clause], APP, *lost)))
    default = re.match(r"[^=]*=(\S*)", example_line(name)[0])
    assert default
    yield from schema_of(name, clause, "secret" if secret else f"{default[1]}9" if default[1] or wrong else "")
    if secret:
        yield from fallback(name, "secret", clause)
    elif wrong:
        yield from fallback(name, f"{default[1]}9", clause)
    if wrong and default[1]:
        for file, text in READS.items():
            if old := re.search(rf'"{name}", "[^"]*"', text):
                yield from in_source(f"the app falls back to another {name}", old[0], f'"{name}", "{default[1]}9"',
                                     clause, file=file)


@rule("workloads", "*", "containers", "observer", "variables", "*", "source", "0")
@rule("workloads", "*", "containers", "observer", "variables", "*", "optional")
def variable_of_the_source(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    """Paths have rules of their own."""
    name = at[5]
    optional = SAID["workloads"]["observer"]["containers"]["observer"]["variables"][name].get("optional")
    if name not in {one["variable"] for one in SAID["paths"].values()} and bool(optional) == (at[-1] == "optional"):
        yield from variable_of_the_app(name)


@rule("paths", "*", "path")
def default_of_a_path(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name = at[1]
    variable, clause = SAID["paths"][name]["variable"], f"paths.{name}"
    line = next(line for line in READS[PATHS].splitlines() if f'"{variable}"' in line)
    last = re.findall(r'"[^"]+"', line)[-1]
    yield from in_source(f"{name} by default in another folder", line, line.replace(last, f'{last[:-1]}x"'), clause,
                         file=PATHS)
    yield from in_source(f"{name} by default in /app", line, f'    return Path(os.getenv("{variable}", "/app/{name}"))',
                         clause, file=PATHS)
    # What depends on where the process runs is told of as such: nobody can say whether it is right.
    yield from in_source(f"{name} by default where the process runs", line,
                         f'    return Path(os.environ.get("{variable}") or Path.cwd() / "{name}")', "check.app",
                         file=PATHS)
    yield from schema_of(variable, clause, f"{value}x")
    yield from fallback(variable, f"{value}x", clause)


@rule("paths", "*", "variable")
def variable_of_a_path(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause = at[1], f"paths.{at[1]}"
    optional = SAID["paths"][name].get("optional")
    lines = READS[PATHS].splitlines()
    number, line = next((number, line) for number, line in enumerate(lines, 1) if f'"{value}"' in line)
    head = in_app(PATHS, max(at for at, one in enumerate(lines[:number], 1) if one.startswith("def ")))
    files, places = everywhere(value, f"{value}X")
    yield Mutation(f"the app reads {value}X", Edit(files), found([f"environment.{value}X"], APP, *places) + (
        () if optional else found([clause], APP, *places, head)))
    if not optional:
        # Only the root's variable decides then.
        yield from in_source(f"the app does not read {value}", line, line.replace(f'os.environ.get("{value}") or ', ""),
                             clause, file=PATHS, more=[head])


@rule("paths", "*", "function")
def function_of_a_path(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    clause = f"paths.{at[1]}"
    _, line = edited(PATHS, f"def {value}()", "")
    files: dict[str, str | None] = {file: re.sub(rf"\b{value}\b", f"{value}_of", text) for file, text in READS.items()
                                    if re.search(rf"\b{value}\b", text)}
    yield Mutation(f"{value} has another name", Edit(files), found([clause], APP, in_app(PATHS, line)))
    whole = re.search(rf"\ndef {value}\(\).*?\n\n\n", READS[PATHS], re.DOTALL)
    assert whole
    text, _ = edited(PATHS, whole[0], "\n")
    yield Mutation(f"{value} is gone", Edit({PATHS: text}), found([clause], APP, in_app(PATHS, 0)))


STAGE = in_app(DOCKERFILE, max(number for number, line in enumerate(tree().texts[DOCKERFILE].splitlines(), 1)
                               if line.startswith("FROM")))
"""Where the final stage begins."""
CHOWN = "    && chown -R 1000:1000 /opt/platform/runtime/observer\n"


@rule("paths", "*", "image")
def folder_of_the_image(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    name, clause = at[1], f"paths.{at[1]}"
    path = SAID["paths"][name]["path"]
    text = tree().texts[DOCKERFILE]
    indent = " " * 16
    made = f"mkdir -p {path} \\\n" if name == "data" else f"{indent}{path} \\\n"
    place = in_app(DOCKERFILE, edited(DOCKERFILE, made, "")[1])
    without_it = text.replace(f"{made}{indent}", "mkdir -p ") if name == "data" else text.replace(made, "")
    yield Mutation(f"the Dockerfile does not make {path}", Edit({DOCKERFILE: without_it}),
                   found([clause], IMAGE, STAGE))
    yield from in_source(f"the Dockerfile makes {path}x", made, made.replace(path, f"{path}x"), clause,
                         file=DOCKERFILE, layer=IMAGE, more=[STAGE])
    yield Mutation(f"the Dockerfile makes {path} and gives it to nobody",
                   Edit({DOCKERFILE: text.replace(f" \\\n{CHOWN}", "\n")}), found([clause], IMAGE, place))
    to_root, line = edited(DOCKERFILE, CHOWN, CHOWN.replace("\n", f" \\\n    && chown root:root {path}\n"))
    yield Mutation(f"the Dockerfile leaves {path} to root", Edit({DOCKERFILE: to_root}),
                   found([clause], IMAGE, in_app(DOCKERFILE, line + 1)))
    for after, where in ((f"RUN rm -rf {path}\n", STAGE), (f"RUN chown 0:0 {path}\n", None)):
        more, line = edited(DOCKERFILE, "WORKDIR /app\n", f"WORKDIR /app\n{after}")
        yield Mutation(f"after all, {after.strip()}", Edit({DOCKERFILE: more}),
                       found([clause], IMAGE, where or in_app(DOCKERFILE, line + 1)))
    image = Image.right()
    yield Mutation(f"an image without {path}", Edit(image=dataclasses.replace(image, folders={
        key: one for key, one in image.folders.items() if key != path})), found([clause], IMAGE, (ARCHIVE, 0)))
    for owner in ((0, 0, 0o755), (1000, 0, 0o755), (1001, 1001, 0o777)):
        yield Mutation(f"an image with {path} of {owner}", Edit(image=dataclasses.replace(
            image, folders={**image.folders, path: owner})), found([clause], IMAGE, (ARCHIVE, 0)))
    if name == "data":
        folders = [f"paths.{one}" for one, said in SAID["paths"].items() if said.get("image")]
        for owned in ("0:0", "1001:1000", "1000:0", "root"):
            yield from in_source(f"the Dockerfile gives the folders to {owned}", "chown -R 1000:1000",
                                 f"chown -R {owned}", *folders, file=DOCKERFILE, layer=IMAGE)
        yield from in_source("the Dockerfile gives away only the folders' parent", "chown -R 1000:1000",
                             "chown 1000:1000", clause, file=DOCKERFILE, layer=IMAGE, more=[place])


@rule("app", "container")
def container_of_the_app(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    path = (*CONTAINER, "name")
    yield from set_to("Deployment", "observer", path, f"{value}-app", "workloads.observer", overlay=False)
    yield from set_to("Deployment", "observer", path, None, "workloads.observer", overlay=False)


@rule("app", "port", "number")
def port_of_the_app(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    settings = f"{SOURCES}/config.py"
    yield from in_source("the app listens on 8080 by default", '"SERVICE_PORT", "8000"', '"SERVICE_PORT", "8080"',
                         "ports.app", file=settings)
    for old, new in (('("0.0.0.0", port)', '("0.0.0.0", 8080)'), ("listen(settings.service_port)", "listen(8080)")):
        yield from in_source(f"the app calls {new}", old, new, "ports.app", file=RUNNER)
    for other in ("8001", "8000/udp", "80 443", "8000-8010/udp"):
        yield from in_source(f"EXPOSE {other}", f"EXPOSE {value}", f"EXPOSE {other}", "ports.app", file=DOCKERFILE,
                             layer=IMAGE)
    text, _ = edited(DOCKERFILE, f"EXPOSE {value}\n", "")
    yield Mutation("the Dockerfile exposes nothing", Edit({DOCKERFILE: text}), found(["ports.app"], IMAGE, STAGE))
    for ports in ((), ("80/tcp",), ("8000/udp",)):
        yield Mutation(f"an image that exposes {ports}", Edit(image=dataclasses.replace(Image.right(), ports=ports)),
                       found(["ports.app"], IMAGE, (ARCHIVE, 0)))


@rule("app", "port", "variable")
def variable_of_the_port(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    settings = f"{SOURCES}/config.py"
    yield from in_source(f"the app takes its port from a constant, and not from {value}",
                         f'os.environ.get("{value}", "8000")', '"8000"', "ports.app", file=settings, more=[
                             in_app(EXAMPLE, example_line(value)[1]), LISTENS])


@rule("app", "routes", "*")
def route(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    server, clause = f"{SOURCES}/api_server.py", f"ports.app{value}"
    # The first of its endpoints, where one more may be added.
    first = in_app(server, edited(server, 'Route("/health"', "")[1] + (value == "/health"))
    handler = value.strip("/")
    for other in (f"{value}z", f"/api{value}"):
        yield from in_source(f"the app answers to {other}", f'Route("{value}", {handler})',
                             f'Route("{other}", {handler})', clause, file=server)
    yield from in_source(f"the app answers to {value} when something is posted", f'Route("{value}", {handler})',
                         f'Route("{value}", {handler}, methods=["POST"])', clause, file=server, more=[first])
    text, _ = edited(server, f'            Route("{value}", {handler}),\n', "")
    yield Mutation(f"the app does not answer to {value}", Edit({server: text}),
                   found([clause], APP, in_app(server, edited(server, 'Route("/health"', "")[1])))


@rule("app", "creates_folders")
def creates_folders(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    anchor = "log = logging.getLogger(__name__)\n"
    main = f"{SOURCES}/main.py"
    for before, made in (
        ("", "Path('/opt/x').mkdir()"), ("", "os.makedirs('/opt/x', exist_ok=True)"), ("", "os.mkdir('/opt/x')"),
        ("", "pathlib.Path('/opt/x').mkdir(parents=True)"),
        ("try:\n    ", "os.makedirs('/opt/x')\nexcept OSError:\n    pass"),
        ("try:\n    ", "Path('/opt/x').mkdir()\nexcept Exception as error:\n    log.warning('%s', error)"),
        ("try:\n    ", "os.mkdir('/opt/x')\nexcept OSError:\n    raise"),
        ("from os import makedirs as make\n", "make('/opt/x')"), ("import subprocess\n",
                                                                 "subprocess.run(['mkdir', '-p', '/opt/x'])"),
        ("", "os.system('mkdir -p /opt/x')"),
        ("import contextlib\nwith contextlib.suppress(OSError):\n    ", "os.mkdir('/opt/x')"),
    ):
        text, line = edited(main, anchor, f"{anchor}{before}{made}\n")
        yield Mutation(f"the app calls {before}{made}", Edit({main: text}), found(
            ["permissions.folders"], APP, in_app(main, line + 1 + before.count("\n"))))
    for name in [one["function"] for one in SAID["paths"].values() if "function" in one]:
        head = f"def {name}() -> Path:\n"
        body = READS[PATHS].partition(head)[2].partition("\n\n\n")[0]
        kept, returned = body.rsplit("\n", 1)
        made = returned.replace("return ", "path = ", 1)
        for guarded in (False, True):
            call = "    try:\n        path.mkdir(parents=True, exist_ok=True)\n    except OSError:\n        pass" \
                if guarded else "    path.mkdir(parents=True, exist_ok=True)"
            text, line = edited(PATHS, head + body, f"{head}{kept}\n{made}\n{call}\n    return path")
            at_line = line + kept.count("\n") + 3 + guarded
            yield Mutation(f"{name} makes its folder{', and minds no error' if guarded else ''}", Edit({PATHS: text}),
                           found(["permissions.folders"], APP, in_app(PATHS, at_line)))


@rule("app", "user", "uid")
def user(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    for other in ("1001", "root", "0", "0:1000", "1001:1000", "nobody", "observer2"):
        # A name that the Dockerfile does not make may be one of the base image: nobody can say who that is.
        clause = "permissions.user" if other[0] in "01r" else "check.image"
        yield from in_source(f"USER {other}", "USER 1000\n", f"USER {other}\n", clause, file=DOCKERFILE, layer=IMAGE)
        yield Mutation(f"an image of USER {other}", Edit(image=dataclasses.replace(Image.right(), user=other)),
                       found(["permissions.user"], IMAGE, (ARCHIVE, 0)))
    yield Mutation("an image without USER", Edit(image=dataclasses.replace(Image.right(), user="")),
                   found(["permissions.user"], IMAGE, (ARCHIVE, 0)))
    text, _ = edited(DOCKERFILE, "USER 1000\n", "")
    yield Mutation("the Dockerfile has no USER", Edit({DOCKERFILE: text}), found(["permissions.user"], IMAGE, STAGE))
    named, line = edited(DOCKERFILE, "USER 1000\n", "USER observer\n")
    later = "USER 1000\nRUN usermod --uid 1001 observer\nUSER observer\n"
    text, line = edited(DOCKERFILE, "USER 1000\n", later)
    yield Mutation("USER observer gets another number", Edit({DOCKERFILE: text}),
                   found(["permissions.user"], IMAGE, in_app(DOCKERFILE, line + 2)))
    text, line = edited(DOCKERFILE, "USER 1000\n", "USER 1000\nUSER root\n")
    yield Mutation("another USER follows", Edit({DOCKERFILE: text}),
                   found(["permissions.user"], IMAGE, in_app(DOCKERFILE, line + 1)))
    yield Mutation("USER observer has another number", Edit({DOCKERFILE: named.replace("--uid 1000", "--uid 1001")}),
                   found(["permissions.user"], IMAGE, in_app(DOCKERFILE, line)))


@rule("app", "user", "gid")
def group(at: tuple[Any, ...], value: Any) -> Iterator[Mutation]:  # noqa: ANN401
    for other in ("1000:0", "1000:root", "1000:1001"):
        yield from in_source(f"USER {other}", "USER 1000\n", f"USER {other}\n", "permissions.user", file=DOCKERFILE,
                             layer=IMAGE)
        yield Mutation(f"an image of USER {other}", Edit(image=dataclasses.replace(Image.right(), user=other)),
                       found(["permissions.user"], IMAGE, (ARCHIVE, 0)))
    text = tree().texts[DOCKERFILE]
    _, line = edited(DOCKERFILE, "USER 1000\n", "")
    yield Mutation("the user's group has another number", Edit({DOCKERFILE: text.replace("--gid 1000", "--gid 1001")}),
                   found(["permissions.user"], IMAGE, in_app(DOCKERFILE, line)))
    passwd = Image.right().passwd.replace(":1000:1000:", ":1000:0:")
    yield Mutation("the user's group in the image is root", Edit(image=dataclasses.replace(
        Image.right(), passwd=passwd)), found(["permissions.user"], IMAGE, (ARCHIVE, 0)))
