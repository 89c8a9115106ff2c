"""What is read from Dockerfiles in the shapes that repositories have, and what is unchecked rather than guessed."""

from __future__ import annotations

import json
import random
import textwrap
import time
from collections.abc import Callable, Mapping
from itertools import count
from pathlib import Path

import pytest

from contract.dockerfile import load_dockerfile
from contract.facts import ImageFacts
from contract.model import ContractError

REPOSITORY = Path(__file__).parents[2]
FOUR = [f"/opt/platform/runtime/observer/{name}" for name in ("data", "logs", "config", "universe")]
Load = Callable[..., ImageFacts]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Read a Dockerfile's text (indented as a whole, perhaps); further files of the context by their names."""
    roots = (tmp_path_factory.getbasetemp() / f"dockerfile-{number}" for number in count())

    def read(text: str, files: Mapping[str, str] = {}, **options: object) -> ImageFacts:
        root = next(roots)
        for name, content in {"docker/Dockerfile": textwrap.dedent(text).lstrip("\n"), **files}.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(content)
        return load_dockerfile(root, **options)  # type: ignore[arg-type]

    return read


def environment(facts: ImageFacts) -> dict[str, str]:
    return {name: literal.value for name, literal in facts.environment.items()}


def owners(facts: ImageFacts) -> dict[str, tuple[int | None, int | None]]:
    return {path: (folder.uid, folder.gid) for path, folder in facts.folders.items()}


def concerned(facts: ImageFacts, name: str) -> list[int]:
    """Lines of what is unchecked about a name."""
    return [each.place.line for each in facts.unchecked if each.concerns(name)]


def abouts(facts: ImageFacts) -> list[tuple[int, str]]:
    return [(each.place.line, each.about) for each in facts.unchecked]


# --- the stand-in app -------------------------------------------------------------------------------


def test_the_app_of_the_test_bed() -> None:
    facts = load_dockerfile(REPOSITORY / "testbed/observer")
    lines = (REPOSITORY / "testbed/observer/docker/Dockerfile").read_text().split("\n")
    assert not facts.unchecked
    assert facts.owner == (1000, 1000)
    assert facts.users == {"observer": (1000, 1000)}
    assert [port.value for port in facts.ports] == ["8000/tcp"]
    assert environment(facts).items() >= {
        "SERVICE_PORT": "8000", "TZ": "Asia/Seoul", "PYTHONUNBUFFERED": "1", "OBSERVER_STANDALONE": "1",
        "OBSERVER_DATA_DIR": FOUR[0], "OBSERVER_LOG_DIR": FOUR[1], "OBSERVER_CONFIG_DIR": FOUR[2],
        "OBSERVER_SNAPSHOT_DIR": FOUR[3], "KIS_TOKEN_CACHE_DIR": f"{FOUR[0]}/cache", "OBSERVER_IMAGE_TAG": "unknown",
    }.items()
    assert all(f"{name}=" in lines[literal.place.line - 1] for name, literal in facts.environment.items())
    for path in FOUR:
        folder = facts.folders[path]
        assert (folder.uid, folder.gid, folder.mode) == (1000, 1000, 0o755)
        assert "chown" in lines[folder.place.line - 1]
        assert folder.mode_place and path in lines[folder.mode_place.line - 1]
    assert facts.entrypoint and json.loads(facts.entrypoint.value) == ["/bin/sh", "/app/docker/entrypoint.sh"]
    assert facts.command and json.loads(facts.command.value) == ["python3", "-m", "observer"]
    assert facts.workdir and facts.workdir.value == "/app"
    assert lines[facts.source.line - 1].startswith("FROM ")


def test_the_app_of_the_test_bed_with_build_arguments() -> None:
    facts = load_dockerfile(REPOSITORY / "testbed/observer", arguments={"IMAGE_TAG": "build-20260205-142425"})
    assert environment(facts)["OBSERVER_IMAGE_TAG"] == "build-20260205-142425"


# --- variables --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "name", "value"), [
    ("ENV A=1", "A", "1"),
    ("ENV A 1", "A", "1"),
    ("ENV A several  words here", "A", "several  words here"),
    ('ENV A "quoted" words', "A", "quoted words"),
    ("ENV A=1 B=2", "B", "2"),
    ('ENV A="two words" B=b', "A", "two words"),
    ("ENV A=two\\ words", "A", "two words"),
    ("ENV A='single $KNOWN'", "A", "single $KNOWN"),
    ('ENV A="$KNOWN-${KNOWN}x"', "A", "known-knownx"),
    ("ENV A=\\$KNOWN", "A", "$KNOWN"),
    ('ENV A="say \\"hi\\""', "A", 'say "hi"'),
    ("ENV A=", "A", ""),
    ('ENV A=""', "A", ""),
    ("ENV A=a=b=c", "A", "a=b=c"),
    ("ENV A=$(date)", "A", "$(date)"),
    ("ENV A=100%$", "A", "100%$"),
    ("ENV A=a#b", "A", "a#b"),
    ("ENV A=${KNOWN:-other}", "A", "known"),
    ("ENV A=${EMPTY:-other} B=${EMPTY-other}", "A", "other"),
    ("ENV A=${EMPTY:-other} B=${EMPTY-other}", "B", ""),
    ("ENV A=${KNOWN:+yes}", "A", "yes"),
    ("ENV A=${EMPTY:+yes}", "A", ""),
    ("ENV A=\"${NOTHING:-${EMPTY:-deep $KNOWN}}\"", "A", "deep known"),
    ("ENV A=${KNOWN#kn} B=${KNOWN%wn}", "A", "own"),
    ("ENV A=${KNOWN#kn} B=${KNOWN%wn}", "B", "kno"),
    ("env A=1", "A", "1"),
    ("ENV KNOWN=new A=$KNOWN", "A", "known"),
    ("ENV \\\n  A=1 \\\n\n  # a comment \\\n  B=2", "B", "2"),
    ("ENV A=a\\\nb", "A", "ab"),
    ("ENV PATH_${KNOWN}=1", "PATH_known", "1"),
])
def test_values_of_variables(load: Load, line: str, name: str, value: str) -> None:
    facts = load(f"FROM scratch\nENV KNOWN=known EMPTY=\nARG NOTHING\n{line}\n")
    assert environment(facts)[name] == value


def test_a_variable_stands_where_its_name_stands(load: Load) -> None:
    facts = load("""
        FROM scratch
        ENV A=1 \\
            # nothing is said here

            B=2 C=3 \\
            D="4 \\
               5"
        ENV B=changed
        """)
    assert {name: literal.place.line for name, literal in facts.environment.items()} == {"A": 2, "B": 8, "C": 5, "D": 6}
    assert facts.environment["D"].value.split() == ["4", "5"]


def test_arguments_before_from_are_seen_in_from_and_where_they_are_declared_again(load: Load) -> None:
    text = """
        ARG BASE=final
        ARG TAG=3.11
        FROM python:${TAG} AS final
        ENV SEEN=${TAG:-nothing}
        ARG TAG
        ENV DECLARED=$TAG
        FROM $BASE
        ENV AGAIN=$TAG
        """
    facts = load(text)
    # Without the declaration the base image may have a variable of this name.
    assert environment(facts) == {"DECLARED": "3.11", "AGAIN": "3.11"}
    assert concerned(facts, "SEEN") == [4]
    assert environment(load(text, arguments={"TAG": "3.12"}))["DECLARED"] == "3.12"


@pytest.mark.parametrize(("text", "value"), [
    ("ARG A=default\nENV X=$A", "default"),
    ("ARG A\nENV X=${A:-default}", "default"),
    ("ARG A=arg\nENV A=env\nENV X=$A", "env"),
    ("ENV A=env\nARG A=arg\nENV X=$A", "env"),
    ("ARG A=1 B=2\nENV X=$A$B", "12"),
    ("ARG A=1\nARG B=${A}x\nENV X=$B", "1x"),
    ("ARG A=1\nARG A=2\nENV X=$A", "2"),
    ("ARG GIVEN=default\nENV X=$GIVEN", "given"),
    ("ARG GIVEN\nENV X=$GIVEN", "given"),
    ("ENV X=${GIVEN:-undeclared}", "undeclared"),
])
def test_arguments_of_a_stage(load: Load, text: str, value: str) -> None:
    assert environment(load(f"FROM scratch\n{text}\n", arguments={"GIVEN": "given"}))["X"] == value


@pytest.mark.parametrize("line", [
    "ENV PATH=/opt/venv/bin:$PATH", "ENV A=$NOWHERE", "ENV A=${NOWHERE:-default}", "ARG V\nENV A=$V",
    "ARG TARGETARCH\nENV A=${TARGETARCH}", "ENV B=$NOWHERE\nENV A=x$B",
])
def test_a_value_that_the_base_image_or_the_build_decides_is_not_guessed(load: Load, line: str) -> None:
    facts = load(f"FROM python:3.11\n{line}\n")
    name = "PATH" if "PATH" in line else "A"
    assert name not in facts.environment
    assert concerned(facts, name) == [line.count("\n") + 2]


def test_another_escape_character(load: Load) -> None:
    facts = load("""
        # escape=`
        # syntax is not asked for any more
        FROM scratch
        ENV A=C:\\folder `
            B=two` words
        """)
    assert environment(facts) == {"A": "C:\\folder", "B": "two words"}


# --- stages and configuration -----------------------------------------------------------------------


STAGES = """
    FROM --platform=$BUILDPLATFORM python:3.11-slim AS Base
    ENV A=base
    EXPOSE 8000
    RUN groupadd -g 1000 app && useradd -u 1000 -g app app && mkdir /srv/app && chown app:app /srv/app
    USER app
    WORKDIR /srv/app
    CMD ["base"]
    FROM base AS test
    ENV B=test
    USER root
    ONBUILD RUN mkdir /never
    FROM golang AS builder
    ENV C=builder
    FROM base
    ENV D=$A
    WORKDIR sub
    ENTRYPOINT serve --port 8000
    """


def test_the_last_stage_has_what_it_is_built_on(load: Load) -> None:
    facts = load(STAGES)
    assert environment(facts) == {"A": "base", "D": "base"}
    assert [port.value for port in facts.ports] == ["8000/tcp"]
    assert facts.owner == (1000, 1000)
    assert facts.workdir and (facts.workdir.value, facts.workdir.place.line) == ("/srv/app/sub", 16)
    assert owners(facts) == {"/srv/app": (1000, 1000), "/srv/app/sub": (1000, 1000)}
    assert facts.entrypoint and json.loads(facts.entrypoint.value) == ["/bin/sh", "-c", "serve --port 8000"]
    assert facts.command is None, "a new ENTRYPOINT takes an inherited CMD away"
    assert not facts.unchecked
    assert facts.source.line == 14


def test_a_stage_by_name_or_number(load: Load) -> None:
    assert environment(load(STAGES, stage="TEST")) == {"A": "base", "B": "test"}
    assert load(STAGES, stage="test").owner == (0, 0)
    assert environment(load(STAGES, stage="2")) == {"C": "builder"}
    with pytest.raises(ContractError, match="no stage 'prod'; its stages are base, test, builder, 3"):
        load(STAGES, stage="prod")


@pytest.mark.parametrize(("line", "ports"), [
    ("EXPOSE 8000", ["8000/tcp"]),
    ("EXPOSE 8000/tcp 53/UDP", ["8000/tcp", "53/udp"]),
    ("EXPOSE 7000-7002", ["7000/tcp", "7001/tcp", "7002/tcp"]),
    ("ARG PORT=8000\nEXPOSE $PORT ${PORT}/udp", ["8000/tcp", "8000/udp"]),
    ('ENV PORTS="8000 9000"\nEXPOSE $PORTS', ["8000/tcp", "9000/tcp"]),
    ("EXPOSE 8000\nEXPOSE 8000/tcp", ["8000/tcp"]),
])
def test_ports(load: Load, line: str, ports: list[str]) -> None:
    assert [port.value for port in load(f"FROM x\n{line}\n").ports] == ports


def test_a_port_of_a_continued_line_and_one_that_is_not_known(load: Load) -> None:
    facts = load("FROM x\nEXPOSE 8000 \\\n  9000 \\\n  $PORT\n")
    assert [port.place.line for port in facts.ports] == [2, 3]
    assert concerned(facts, "ports") == [4]


@pytest.mark.parametrize(("lines", "entrypoint", "command"), [
    ('CMD ["a", "b"]', None, ["a", "b"]),
    ("CMD a  b", None, ["/bin/sh", "-c", "a  b"]),
    ("CMD ['a']", None, ["/bin/sh", "-c", "['a']"]),
    ('SHELL ["/bin/bash", "-c"]\nENTRYPOINT a', ["/bin/bash", "-c", "a"], None),
    ('ENTRYPOINT ["a"]\nCMD ["b"]', ["a"], ["b"]),
    ('CMD ["b"]\nENTRYPOINT ["a"]', ["a"], ["b"]),
    ('ENTRYPOINT ["a"]\nENTRYPOINT []', None, None),
    ("CMD $A/run", None, ["/bin/sh", "-c", "$A/run"]),
])
def test_what_is_started(load: Load, lines: str, entrypoint: list[str] | None, command: list[str] | None) -> None:
    facts = load(f"FROM x\n{lines}\n")
    assert (facts.entrypoint and json.loads(facts.entrypoint.value)) == entrypoint
    assert (facts.command and json.loads(facts.command.value)) == command


# --- users ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lines", "owner"), [
    ("USER 1000", (1000, None)),
    ("USER 1000:1000", (1000, 1000)),
    ("USER root", (0, 0)),
    ("USER 0", (0, 0)),
    ("ARG UID=1000\nARG GID=1001\nUSER ${UID}:$GID", (1000, 1001)),
    ("RUN useradd -u 1000 app\nUSER app", (1000, 1000)),
    ("RUN useradd --uid=1000 --gid 100 app\nUSER app", (1000, 100)),
    ("RUN useradd -mu 1000 -s /bin/bash app\nUSER app:app", (1000, 1000)),
    ("RUN groupadd -g 1001 staff && useradd -g staff -u 1000 app\nUSER app", (1000, 1001)),
    ("RUN groupadd -g 1001 staff && useradd -u 1000 app\nUSER app:staff", (1000, 1001)),
    ("RUN groupadd -r -g 999 app; useradd -r -u 999 -g app app\nUSER app", (999, 999)),
    ("RUN addgroup --gid 1000 app && adduser --uid 1000 --gid 1000 --disabled-password --gecos '' app\nUSER app",
     (1000, 1000)),
    ("RUN addgroup --system --gid 1000 app && adduser --system --uid 1000 --ingroup app app\nUSER app", (1000, 1000)),
    ("RUN adduser --system --group --uid 150 app\nUSER app", (150, 150)),
    ("RUN addgroup -S -g 1000 app && adduser -S -D -H -u 1000 -G app -h /nonexistent app\nUSER app", (1000, 1000)),
    ("RUN adduser -D -u 1000 app\nUSER app", (1000, 1000)),
    ("RUN adduser -D -g 'The App' -u 1000 app\nUSER app", (1000, 1000)),
    ("RUN adduser -r -u 1000 -g 0 app\nUSER app", (1000, 0)),
    ("RUN useradd -u 1000 app && usermod -u 1500 app && groupmod -g 1600 app\nUSER app", (1500, 1600)),
    ("RUN useradd -u 1000 app && usermod -aG tty app\nUSER 1000", (1000, 1000)),
    ("ARG U=app\nRUN useradd -u 1000 $U\nUSER ${U}", (1000, 1000)),
    ("RUN echo 'app:x:1000:1001::/:/bin/sh' >> /etc/passwd\nUSER app", (1000, 1001)),
    ("COPY <<EOF /etc/passwd\nroot:x:0:0::/:\napp:x:1000:1001::/:\nEOF\nUSER app", (1000, 1001)),
    ("RUN cat <<EOF >> /etc/passwd\napp:x:1000:1001::/:\nEOF\nUSER app", (1000, 1001)),
    ("RUN <<EOF\nset -e\nuseradd -u 1000 app\nEOF\nUSER app", (1000, 1000)),
    ("RUN ['true']\nRUN [\"useradd\", \"-u\", \"1000\", \"app\"]\nUSER app", (1000, 1000)),
    ("USER node", (None, None)),
    ("RUN useradd app\nUSER app", (None, None)),
    ("RUN useradd -r app\nUSER app", (None, None)),
    ("RUN useradd -u $(id -u) app\nUSER app", (None, None)),
    ("RUN id app || useradd -u 1000 app\nUSER app", (None, None)),
    ("RUN if true; then useradd -u 1000 app; fi\nUSER app", (None, None)),
    ("RUN useradd -u 1000 app || true\nUSER app", (None, None)),
    ("RUN groupadd app && useradd -u 1000 -g app app\nUSER app", (1000, None)),
    ("RUN useradd -u 1000 -N app\nUSER app", (1000, None)),
    ("RUN useradd -u 77 app\nUSER app", (77, None)),
    ("RUN echo app:x:1000:1000:: | tee -a /etc/passwd\nUSER app", (None, None)),
    ("RUN sed -i s/1000/1001/ /etc/passwd\nUSER app", (None, None)),
    ("USER $NOWHERE", (None, None)),
    ("USER ²", (None, None)),
])
def test_who_runs(load: Load, lines: str, owner: tuple[int | None, int | None]) -> None:
    facts = load(f"FROM python:3.11\n{lines}\n")
    assert facts.owner == owner
    assert bool(concerned(facts, "user")) == (owner[0] is None)


def test_a_user_without_a_number_is_unchecked_where_it_is_made(load: Load) -> None:
    facts = load("""
        FROM python:3.11
        RUN groupadd -r app \\
         && useradd -r \\
            -g app app
        USER app
        """)
    assert concerned(facts, "app") == [4]
    assert concerned(facts, "user") == [5]


def test_the_base_image_decides_when_no_user_is_set(load: Load) -> None:
    facts = load("FROM python:3.11 AS base\nFROM base\nENV A=1\n")
    assert facts.user is None
    assert concerned(facts, "user") == [1]
    assert facts.owner == (0, 0), "only what is unchecked says that this is not certain"
    assert not load("FROM scratch\nENV A=1\n").unchecked


def test_a_step_that_only_root_can_do_shows_that_the_base_image_runs_as_root(load: Load) -> None:
    facts = load("FROM python:3.11\nRUN mkdir /srv/app\nRUN apt-get update && apt-get install -y curl\n")
    assert not facts.unchecked
    assert owners(facts) == {"/srv/app": (0, 0)}
    unknown = load("FROM python:3.11\nRUN mkdir /srv/app\n")
    assert owners(unknown) == {"/srv/app": (None, None)}


# --- folders ----------------------------------------------------------------------------------------

USERS = "FROM debian:12\nRUN groupadd -g 1000 app && useradd -u 1000 -g app -m app\n"


@pytest.mark.parametrize(("lines", "path", "folder"), [
    ("RUN mkdir -p /srv/a/b /srv/c", "/srv/a/b", (0, 0, 0o755)),
    ("RUN mkdir -p /srv/a/b", "/srv/a", (0, 0, 0o755)),
    ("RUN mkdir -m 0700 /srv/a", "/srv/a", (0, 0, 0o700)),
    ("RUN mkdir -pm2775 /srv/a", "/srv/a", (0, 0, 0o2775)),
    ("RUN mkdir --parents --mode=750 /srv/a", "/srv/a", (0, 0, 0o750)),
    ("RUN mkdir -m u=rwx,go= /srv/a", "/srv/a", (0, 0, None)),
    ("RUN umask 027 && mkdir /srv/a", "/srv/a", (0, 0, 0o750)),
    ("RUN if true; then umask 027; fi; mkdir /srv/a", "/srv/a", (0, 0, None)),
    ("RUN mkdir /srv/a && chown app:app /srv/a", "/srv/a", (1000, 1000, 0o755)),
    ("RUN mkdir /srv/a && chown app: /srv/a", "/srv/a", (1000, 1000, 0o755)),
    ("RUN mkdir /srv/a && chown app /srv/a", "/srv/a", (1000, 0, 0o755)),
    ("RUN mkdir /srv/a && chown :app /srv/a", "/srv/a", (0, 1000, 0o755)),
    ("RUN mkdir /srv/a && chgrp 50 /srv/a", "/srv/a", (0, 50, 0o755)),
    ("RUN mkdir -p /srv/a/b && chown -R 1000:1000 /srv", "/srv/a/b", (1000, 1000, 0o755)),
    ("RUN mkdir -p /srv/a/b && chown 1000:1000 /srv/a", "/srv/a/b", (0, 0, 0o755)),
    ("RUN mkdir -p /srv/ab /srv/a && chown -R 1000:1000 /srv/a", "/srv/ab", (0, 0, 0o755)),
    ("RUN mkdir -p /srv/a && chown 1000:1000 /srv/*", "/srv/a", (1000, 1000, 0o755)),
    ("RUN chown -R app:app /srv/a && mkdir -p /srv/a/late", "/srv/a/late", (0, 0, 0o755)),
    ("RUN chown app:app /srv/fromthebase", "/srv/fromthebase", (1000, 1000, None)),
    ("RUN mkdir /srv/a && chmod 0770 /srv/a", "/srv/a", (0, 0, 0o770)),
    ("RUN mkdir -p /srv/a/b && chmod -R 700 /srv/a", "/srv/a/b", (0, 0, 0o700)),
    ("RUN mkdir /srv/a && chmod g+w /srv/a", "/srv/a", (0, 0, None)),
    ("RUN install -d -g 50 -m 2775 /srv/a && mkdir /srv/a/b", "/srv/a/b", (0, 50, 0o2755)),
    ("RUN mkdir -m 2775 /srv/a && chmod 755 /srv/a", "/srv/a", (0, 0, None)),
    ("RUN install -d -o app -g app -m 0750 /srv/a", "/srv/a", (1000, 1000, 0o750)),
    ("RUN install --directory --owner=app /srv/a/b", "/srv/a", (0, 0, 0o755)),
    ("USER app\nRUN mkdir -p ~/.cache $HOME/data", "/home/app/data", (1000, 1000, 0o755)),
    ("USER 1000:50\nRUN mkdir /tmp/a", "/tmp/a", (1000, 50, 0o755)),
    ("WORKDIR /srv/app\nRUN mkdir data && chown app:app data", "/srv/app/data", (1000, 1000, 0o755)),
    ("RUN cd /srv && mkdir a && cd a && mkdir ../b", "/srv/b", (0, 0, 0o755)),
    ("RUN (cd /srv; mkdir a); mkdir b", "/b", None),
    ("USER app\nWORKDIR /srv/app", "/srv/app", (1000, 1000, 0o755)),
    ("VOLUME /data", "/data", (0, 0, 0o755)),
    ('VOLUME ["/data", "/logs"]', "/logs", (0, 0, 0o755)),
    ("RUN mkdir /srv/a && rm -rf /srv/a", "/srv/a", None),
    ("RUN mkdir -p /srv/a/b && rm -r /srv/a/*", "/srv/a/b", None),
    ("RUN mkdir -p /srv/a/b && rmdir /srv/a/b", "/srv/a/b", None),
    ("ENV D=/srv/a\nARG E=data\nRUN mkdir -p $D/${E}", "/srv/a/data", (0, 0, 0o755)),
    ("RUN D=/srv/a; mkdir -p $D/x", "/srv/a/x", (0, 0, 0o755)),
    ("RUN export D=/srv/a && mkdir -p \"$D/x y\"", "/srv/a/x y", (0, 0, 0o755)),
    ("ENV DIRS='/srv/a /srv/b'\nRUN mkdir $DIRS", "/srv/b", (0, 0, 0o755)),
    ("RUN for d in data logs; do mkdir -p /srv/$d; done", "/srv/logs", (0, 0, 0o755)),
    ("RUN for d in data logs; do \\\n  for e in 1 2; do mkdir -p /srv/$d/$e; done; done", "/srv/logs/2", (0, 0, 0o755)),
    ("RUN set -eux; { mkdir /srv/a; chown 1000:1000 /srv/a; }", "/srv/a", (1000, 1000, 0o755)),
    ("RUN mkdir /srv/a; # mkdir /srv/b", "/srv/b", None),
    ("RUN echo mkdir /srv/b 'mkdir /srv/c' && mkdir /srv/a", "/srv/b", None),
    ("RUN sh -c 'mkdir -p /srv/a && chown 1000:1000 /srv/a'", "/srv/a", (1000, 1000, 0o755)),
    ('RUN ["/bin/sh", "-c", "mkdir -p /srv/a"]', "/srv/a", (0, 0, 0o755)),
    ('RUN ["mkdir", "-p", "/srv/$A"]', "/srv/$A", (0, 0, 0o755)),
    ("RUN --mount=type=cache,target=/root/.cache mkdir /srv/a", "/srv/a", (0, 0, 0o755)),
    ("RUN <<-EOF\n\tmkdir /srv/a\n\tchown 1000:1000 /srv/a\n\tEOF", "/srv/a", (1000, 1000, 0o755)),
    ("RUN <<EOF bash\nmkdir -p /srv/{a,b}\nEOF", "/srv/b", (0, 0, 0o755)),
    ("RUN <<EOF\n#!/bin/bash\nmkdir -p /srv/{a,b}\nEOF", "/srv/b", (0, 0, 0o755)),
    ("RUN cat <<EOF > /x && mkdir /srv/a\nmkdir /srv/b\nEOF", "/srv/b", None),
    ("RUN sudo mkdir /srv/a && /bin/chown 1000:1000 /srv/a", "/srv/a", (1000, 1000, 0o755)),
    ("RUN if ! test -d /srv/a; then mkdir /srv/a; fi && chown 1000:1000 /srv/a", "/srv/a", (1000, 1000, None)),
    ("RUN mkdir /srv/a || exit 1", "/srv/a", (0, 0, 0o755)),
    ("RUN test -n \"$A\" && mkdir /srv/a", "/srv/a", (0, 0, 0o755)),
    ("RUN find /srv -type f -exec chmod 600 {} +; mkdir /srv/a && chmod +x /srv/script", "/srv/a", (0, 0, 0o755)),
    ("COPY --chown=app:app conf.yml /srv/conf/", "/srv/conf", (1000, 1000, 0o755)),
    ("COPY --chown=1000 src/ /srv/src", "/srv/src", (1000, 1000, 0o755)),
    ("COPY conf.yml src/ /srv/both/", "/srv/both", (0, 0, 0o755)),
    ("COPY conf.yml /srv/deep/in/conf.yml", "/srv/deep/in", (0, 0, 0o755)),
    ("COPY conf.yml /srv/conf.yml", "/srv/conf.yml", None),
    ("COPY src /srv/there", "/srv/there", (0, 0, 0o755)),
    ("WORKDIR /srv/app\nCOPY --chown=app:app . .", "/srv/app", (0, 0, 0o755)),
    ('COPY --chown=app:app ["conf.yml", "/srv/in json/"]', "/srv/in json", (1000, 1000, 0o755)),
    ("ADD release.tar.gz /srv/release", "/srv/release", (0, 0, 0o755)),
])
def test_a_folder(load: Load, lines: str, path: str, folder: tuple[int, int, int] | None) -> None:
    facts = load(f"{USERS}{lines}\n", {"conf.yml": "", "src/main.py": ""})
    found = facts.folders.get(path)
    assert (found and (found.uid, found.gid, found.mode)) == folder


def test_braces_are_expanded_by_bash_alone(load: Load) -> None:
    lines = "RUN mkdir -p /opt/platform/runtime/observer/{data,logs,config,universe}\n"
    dash = load(f"{USERS}{lines}")
    assert not set(FOUR) & set(dash.folders)
    assert "/opt/platform/runtime/observer/{data,logs,config,universe}" in dash.folders
    assert set(FOUR) <= set(load(f'{USERS}SHELL ["/bin/bash", "-o", "pipefail", "-c"]\n{lines}').folders)
    assert set(FOUR) <= set(load(f"FROM ubi9\nRUN dnf install -y python3\n{lines}").folders)
    unknown = load(f"FROM somewhere/base\n{lines}")
    assert not set(FOUR) & set(unknown.folders)
    assert all(concerned(unknown, path) == [2] for path in FOUR)


def test_folders_of_another_stage_keep_their_owners(load: Load) -> None:
    text = """
        FROM debian AS builder
        RUN useradd -u 1000 app && mkdir -p /out/data /out/logs && chown app:app /out/data && chmod 700 /out/data
        FROM debian
        COPY --from=builder /out /srv
        COPY --from=0 --chown=5:6 /out /given
        COPY --from=builder /etc/passwd /etc/group /etc/
        USER app
        """
    facts = load(text)
    assert owners(facts) == {"/srv/data": (1000, 1000), "/srv/logs": (0, 0), "/given": (5, 6), "/given/data": (5, 6),
                             "/given/logs": (5, 6)}
    assert facts.folders["/srv/data"].mode == 0o700
    assert facts.owner == (1000, 1000)


def test_a_path_stands_on_its_own_line(load: Load) -> None:
    facts = load("""
        FROM debian
        RUN apt-get update \\
            # the folders
            && mkdir -p /srv/data \\
                        /srv/logs \\
            && chown -R \\
               1000:1000 \\
               /srv/data \\
            && chmod \\
               0700 /srv/data
        RUN <<EOF
        for d in a b; do
          mkdir /srv/$d
        done
        bash -c 'mkdir /srv/c
        mkdir /srv/d'
        EOF
        """)
    data = facts.folders["/srv/data"]
    assert (data.place.line, data.mode_place and data.mode_place.line) == (7, 10)
    assert {path: facts.folders[f"/srv/{path}"].place.line for path in ("logs", "a", "c", "d")} == {
        "logs": 5, "a": 13, "c": 15, "d": 16}


@pytest.mark.parametrize(("line", "path"), [
    ("RUN mkdir -p $(cat paths)/data", "/srv/data"),
    ("RUN mkdir -p /srv/$NOWHERE", "/srv/data"),
    ("RUN mkdir -p `pwd`/data", "/anything/data"),
    ("RUN cat paths | xargs mkdir -p", "/srv/data"),
    ("RUN eval \"mkdir $A\"", "/srv/data"),
    ("COPY setup.sh /tmp/\nRUN sh /tmp/setup.sh", "/srv/data"),
    ("COPY setup.sh /tmp/setup\nRUN /tmp/setup", "/srv/data"),
    ("COPY . /app\nRUN /app/bin/prepare --all", "/srv/data"),
    ("RUN ./setup.sh", "/srv/data"),
    ("RUN curl -sSf https://example.org/install | sh -s -- -y", "/srv/data"),
    ("RUN su app -c 'mkdir /srv/data'", "/srv/data"),
    ("RUN [ -d /srv/data ] || mkdir /srv/data", "/srv/data"),
    ("RUN if [ -n \"$A\" ]; then mkdir /srv/data; fi", "/srv/data"),
    ("RUN case $A in x) mkdir /srv/data;; esac", "/srv/data"),
    ("RUN make_it() { mkdir /srv/data; }; make_it", "/srv/data"),
    ("RUN while read d; do mkdir /srv/$d; done < list", "/srv/data"),
    ("RUN for d in $(ls); do mkdir /srv/$d; done", "/srv/data"),
    ("RUN for d in $DIRS; do mkdir /srv/data; done", "/srv/data"),
    ("RUN mkdir -p /srv/data/$NOWHERE", "/srv/data"),
    ("RUN { test -d /mnt/x; } && mkdir /srv/data; true", "/srv/data"),
    ("RUN for d in a b; do test -d /mnt/$d; done && mkdir /srv/data; true", "/srv/data"),
    ("RUN mkdir -m 700 /srv/data || true; mkdir -p /srv/data", "/srv/data"),
    ("RUN mkdir /srv/data && chown 1000:1000 $NOWHERE/data", "/srv/data"),
    ("RUN mkdir /srv/data && chmod 700 /srv/$NOWHERE", "/srv/data"),
    ("RUN mv /mnt /srv/ && mkdir /srv/other", "/srv/data"),
    ("RUN cd $NOWHERE && mkdir -p srv/data", "/srv/data"),
    ("RUN test -n \"$A\" && mkdir /srv/data; true", "/srv/data"),
    ("RUN ln -s /mnt /srv/data", "/srv/data"),
    ("RUN mv /tmp/x /srv/data", "/srv/data"),
    ("RUN cp -r /tmp/x /srv", "/srv/data"),
    ("RUN mkdir /srv/data && chown www-data:www-data /srv/data", "/srv/data"),
    ("RUN mkdir /srv/data && chown $NOWHERE /srv/data", "/srv/data"),
    ("RUN mkdir /srv/data && (chown 1000:1000 /srv/data || true)", "/srv/data"),
    ("RUN mkdir /srv/data && find /srv -type d -exec chown 1000:1000 {} +", "/srv/data"),
    ("RUN mkdir /srv/data && if true; then rm -rf /srv; fi", "/srv/data"),
    ("COPY --chown=$NOWHERE conf.yml /srv/data/", "/srv/data"),
    ("COPY conf.yml $NOWHERE/", "/srv/data"),
    ("WORKDIR $NOWHERE\nRUN mkdir data", "/srv/data"),
    ("RUN mkdir 'unclosed", "/srv/data"),
])
def test_what_cannot_be_resolved_is_unchecked_with_its_line(load: Load, line: str, path: str) -> None:
    facts = load(f"FROM debian\nUSER 0\n{line}\n", {"conf.yml": "", "setup.sh": "", "setup": ""})
    assert 3 + line.count("\n") in concerned(facts, path)
    folder = facts.folders.get(path)
    assert folder is None or None in {folder.uid, folder.mode}


@pytest.mark.parametrize("line", [
    "RUN pip install --no-cache-dir -r requirements.txt && rm -rf /root/.cache $TMP",
    'RUN export GNUPGHOME="$(mktemp -d)" && gpg --verify x && rm -rf "$GNUPGHOME"',
    "RUN apt-get update && apt-get install -y --no-install-recommends $PACKAGES && rm -rf /var/lib/apt/lists/*",
    "RUN set -eux; arch=\"$(dpkg --print-architecture)\"; case $arch in amd64) u=x;; *) exit 1;; esac; wget $u",
    "RUN find /usr/local -depth \\( -type d -a -name test \\) -exec rm -rf '{}' +",
    "RUN . /opt/venv/bin/activate && python -m compileall -q . || true",
    "RUN . /etc/os-release && echo $VERSION_CODENAME",
    "RUN chmod +x /entrypoint && ln -snf /usr/share/zoneinfo/$TZ /etc/localtime && echo $TZ > /etc/timezone",
    "RUN --mount=type=bind,source=x,target=/x pip install /x && python - <<PY\nimport os\nPY",
    "HEALTHCHECK --interval=5s CMD curl -f localhost:8000/health || exit 1",
    "LABEL a=$NOWHERE\nSTOPSIGNAL SIGTERM\nMAINTAINER somebody",
])
def test_what_has_nothing_to_do_with_the_contract_says_nothing(load: Load, line: str) -> None:
    facts = load(f"FROM debian\nUSER 0\n{line}\n")
    assert not concerned(facts, "/srv/data")
    assert not concerned(facts, "user")
    assert not {"/srv/data", "/app"} & set(facts.folders)


# --- refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "message"), [
    ("", "has no FROM"),
    ("# only a comment\n", "has no FROM"),
    ("ENV A=1\nFROM x\n", "Dockerfile:1 has ENV before FROM"),
    ("FROM x\n\nINCLUDE y\n", "Dockerfile:3 has no instruction that Docker knows: 'INCLUDE'"),
    ("FROM x\nRUN mkdir a &&\n  chown b\n", "Dockerfile:3 has no instruction that Docker knows: 'CHOWN'"),
    ("FROM x AS\n", "Dockerfile:1 has a FROM"),
    ("FROM\n", "Dockerfile:1 has FROM without an argument"),
    ("FROM x\nENV A=1 \\\n  B\n", "Dockerfile:3 has 'B', which is not NAME=value"),
    ("FROM x\nENV A\n", "Dockerfile:2 sets A to nothing"),
    ("FROM x\nENV A='b\n", "Dockerfile:2 has a quote or bracket"),
    ("FROM x\nENV A=${B\n", "Dockerfile:2 has a quote or bracket"),
    ("FROM x\nEXPOSE http\n", "Dockerfile:2 exposes 'http'"),
    ("FROM x\nEXPOSE 70000\n", "Dockerfile:2 exposes '70000'"),
    ("FROM x\nEXPOSE 9000-8000\n", "Dockerfile:2 exposes"),
    ("FROM x\nUSER a b\n", "Dockerfile:2 names more than one user"),
    ("FROM x\nCOPY a\n", "Dockerfile:2 has COPY without a source"),
    ("FROM x\nSHELL bash\n", "Dockerfile:2 has a SHELL"),
    ("FROM x\nRUN <<EOF\nmkdir /a\n", "Dockerfile:2 begins a here document"),
    ("# escape=/\nFROM x\n", "Dockerfile:1 sets the escape character"),
    ("FROM x\nENV A=aaaaaaaaaa\n" + "ENV A=$A$A\n" * 40, "stands for more than"),
    ('FROM x\nSHELL ["bash"]\nRUN mkdir ' + "{a,b}" * 40, "Dockerfile:3 stands for more than"),
    ("FROM x\nRUN " + "for a in 1 2 3 4 5 6 7 8; do " * 20 + "mkdir /$a;" + " done;" * 20, "Dockerfile:2 stands for"),
    ("FROM x\n" + "#" * 600_000, "more than 512 KiB"),
    ("FROM x\n\0\n", "no text"),
], ids=lambda value: value[:30])
def test_refusals_name_the_line(load: Load, text: str, message: str) -> None:
    started = time.process_time()
    with pytest.raises(ContractError) as error:
        load(text)
    assert message in str(error.value)
    assert error.value.remedy
    assert error.value.place and error.value.place.file == "docker/Dockerfile"
    assert time.process_time() - started < 2


def test_a_file_that_is_not_there_or_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "app"
    root.mkdir()
    with pytest.raises(ContractError, match="docker/Dockerfile is not there"):
        load_dockerfile(root)
    (tmp_path / "Dockerfile").write_text("FROM x\n")
    (root / "Dockerfile").symlink_to(tmp_path / "Dockerfile")
    with pytest.raises(ContractError, match="leads out"):
        load_dockerfile(root, "Dockerfile")
    with pytest.raises(ContractError, match="leads out"):
        load_dockerfile(root, "../Dockerfile")
    (root / "loop").symlink_to("loop")
    with pytest.raises(ContractError, match="not there"):
        load_dockerfile(root, "loop")


def test_encodings_and_line_ends(tmp_path: Path) -> None:
    text = "FROM debian\r\nRUN mkdir /srv/a \\\r\n  /srv/b\r\nENV A=값\r\n"
    for name, encoding in (("utf-8", "utf-8-sig"), ("utf-16", "utf-16")):
        (tmp_path / name).write_bytes(text.encode(encoding))
        facts = load_dockerfile(tmp_path, name)
        assert facts.folders["/srv/b"].place.line == 3
        assert environment(facts) == {"A": "값"}


def test_mutations_never_break_the_reader(tmp_path: Path) -> None:
    pieces = ["\\", "\n", '"', "'", "${", "}", "$(", ")", "`", "&&", "||", ";", "{a,b}", "{1..9}", " <<EOF", "\nEOF\n",
              "\nFROM ", "\nRUN ", "\nCOPY --from=0 / /\n", "\nENV ", "=", "$A", "${A:-", "#", "for x in a b; do ",
              "done", "if ", "fi", "mkdir -p /", "chown -R ", "*", "[", "]", "(", "{", "case x in ", "esac", "²",
              "\nUSER ", "-", "..", "~", "<<<", "> /etc/passwd", "sh -c ", "\nEXPOSE 1-65535\n", "\nWORKDIR ", "\x7f"]
    samples = [(REPOSITORY / "testbed/observer/docker/Dockerfile").read_text(), textwrap.dedent(STAGES), USERS]
    chance = random.Random(5)
    file = tmp_path / "Dockerfile"
    until = time.process_time() + 0.5
    read = 0
    while read < 400 and time.process_time() < until:
        text = chance.choice(samples)
        for _ in range(chance.randint(1, 4)):
            at = chance.randint(0, len(text))
            end = at + chance.choice((0, 0, 1, 10, 40))
            text = text[:at] + chance.choice(("", text[at:end] * 2, chance.choice(pieces))) + text[end:]
        file.write_text(text)
        try:
            facts = load_dockerfile(tmp_path, "Dockerfile")
        except ContractError as error:
            assert error.place and error.remedy
        else:
            assert facts.owner
            assert all(folder.uid is None or folder.uid >= 0 for folder in facts.folders.values())
            assert "\0" not in repr(facts)
        read += 1
    assert read > 20
