"""The app's side: what its source reads, where it keeps its files, and what it listens on, without running it."""

from __future__ import annotations

import functools
import itertools
import os
import random
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from contract.app import load_app
from contract.facts import AppFacts, Unchecked
from contract.model import ContractError, Place
from work import ENDLESS, calls

ROOT = Path(__file__).resolve().parents[2]
OBSERVER = ROOT / "testbed" / "observer"
Load = Callable[..., AppFacts]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Writes files of an app (`module_py` is src/app/module.py) and loads it."""

    def run(source: str = "", files: Mapping[str, str] | None = None, **modules: str) -> AppFacts:
        if source:
            modules["main_py"] = source
        named = {name.removesuffix("_py") + ".py": text for name, text in modules.items()}
        for name, text in {**named, **(files or {})}.items():
            path = tmp_path / "src" / "app" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        (tmp_path / "src" / "app" / "__init__.py").touch()
        return load_app(tmp_path)

    return run


def reads(facts: AppFacts) -> list[tuple[str, str | None, int]]:
    return [(one.name, one.default if one.resolved else "?", one.place.line) for one in facts.reads]


def named(facts: AppFacts) -> dict[str, str | None]:
    return {one.name: one.default if one.resolved else "?" for one in facts.reads}


def doubts(facts: AppFacts) -> list[tuple[str, int]]:
    return [(one.about, one.place.line) for one in facts.unchecked]


def path(facts: AppFacts, name: str) -> tuple[str | None, tuple[str, ...]]:
    return facts.paths[name].default, facts.paths[name].variables


# --- the stand-in app -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def observer() -> AppFacts:
    return load_app(OBSERVER)


BASE = "/opt/platform/runtime/observer"


@pytest.mark.parametrize(("function", "default", "variable"), [
    ("data_dir", f"{BASE}/data", "OBSERVER_DATA_DIR"),
    ("log_dir", f"{BASE}/logs", "OBSERVER_LOG_DIR"),
    ("config_dir", f"{BASE}/config", "OBSERVER_CONFIG_DIR"),
    ("snapshot_dir", f"{BASE}/universe", "OBSERVER_SNAPSHOT_DIR"),
    ("system_log_dir", f"{BASE}/logs/system", "OBSERVER_SYSTEM_LOG_DIR"),
    ("maintenance_log_dir", f"{BASE}/logs/maintenance", "OBSERVER_MAINTENANCE_LOG_DIR"),
    ("token_cache_dir", f"{BASE}/data/cache", "KIS_TOKEN_CACHE_DIR"),
])
def test_observer_keeps_the_seven_paths(observer: AppFacts, function: str, default: str, variable: str) -> None:
    found = observer.paths[function]
    assert (found.default, found.variables[0], found.place.file) == (default, variable, "src/observer/paths.py")
    assert found.variables[-1] == "OBSERVER_RUNTIME_ROOT"


def test_observer_reads_what_its_example_lists(observer: AppFacts) -> None:
    found: dict[str, set[str | None]] = {}
    for read in observer.reads:
        assert read.resolved, read
        found.setdefault(read.name, set()).add(read.default)
    assert set(found) == set(observer.examples)
    for name, example in observer.examples.items():
        assert example.default in found[name] or found[name] == {None}, name
        assert (None in found[name]) == (bool(example.required) or name == "PYTHONUNBUFFERED"), name
    assert observer.examples["KIS_HTS_ID"].secret and not observer.examples["DB_NAME"].secret


def test_observer_serves(observer: AppFacts) -> None:
    assert {one.value for one in observer.ports} == {"8000"}
    assert {"/health", "/ready", "/metrics", "/status"} <= {one.value for one in observer.routes}
    assert "/records" not in {one.value for one in observer.routes}  # Only POST.
    assert not observer.creations
    # What is not known are functions that need an argument; nothing of the contract.
    assert {one.about for one in observer.unchecked} <= {"quotes_file", "universe_file", "journal", "MIGRATIONS"}
    assert observer.example_file == Place(".env.example")


# --- reads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "expected"), [
    ('import os\nA = os.environ["X"]', [("X", None, 2)]),
    ('import os\nA = os.environ.get("X")', [("X", None, 2)]),
    ('import os\nA = os.environ.get("X", "d")', [("X", "d", 2)]),
    ('import os\nA = os.environ.get("X", default="d")', [("X", "d", 2)]),
    ('import os\nA = os.getenv("X", "")', [("X", "", 2)]),
    ('import os\nA = os.getenv(key="X", default="d")', [("X", "d", 2)]),
    ('import os as o\nA = o.environ["X"]', [("X", None, 2)]),
    ('from os import environ\nA = environ.get("X", 8000)', [("X", "8000", 2)]),
    ('from os import environ as e, getenv as g\nA = e["X"]\nB = g("Y", "1")', [("X", None, 2), ("Y", "1", 3)]),
    ('import os\nenv = os.environ\nA = env.get("X", "d")', [("X", "d", 3)]),
    ('import os\nget = os.environ.get\nA = get("X", "d")', [("X", "d", 3)]),
    ('import os\nA = os.environ.pop("X", "d")', [("X", "d", 2)]),
    ('import os\nos.environ.setdefault("X", "d")', [("X", "d", 2)]),
    ('import os\nA = "X" in os.environ', [("X", None, 2)]),
    ('import os\nA = "X" not in os.environ.keys()', [("X", None, 2)]),
    ('import os\nA = os.environ.get("X") or "d"', [("X", "d", 2)]),
    ('import os\nA = os.environ.get("X", "") or "d"', [("X", "d", 2)]),
    ('import os\nA = os.getenv("X") or os.getenv("Y") or "d"', [("X", "d", 2), ("Y", "d", 2)]),
    ('import os\nA = os.environ["X"] if "X" in os.environ else "d"', [("X", "d", 2)]),
    ('import os\nA = "d" if not os.environ.get("X") else os.environ["X"]', [("X", "d", 2)]),
    ('import os\nA = v if (v := os.getenv("X")) is not None else "d"', [("X", "d", 2)]),
    ('import os\nA = int(os.environ.get("X") or 8000)', [("X", "8000", 2)]),
    ('import os\nA = int(os.environ.get("X", str(2 * 4000)))', [("X", "8000", 2)]),
    ('import os\nNAME = "X"\nA = os.environ[NAME]', [("X", None, 3)]),
    ('import os\nP = "QTS"\nA = os.environ.get(f"{P}_PORT", "1")', [("QTS_PORT", "1", 3)]),
    ('import os\nP = "QTS_"\nA = os.environ.get(P + "x".upper(), "1")', [("QTS_X", "1", 3)]),
    ('import os\nA = os.environ.get("%s_%s" % ("A", "B"))', [("A_B", None, 2)]),
    ('import os\nA = os.environ.get("{}_{b}".format("A", b="B"))', [("A_B", None, 2)]),
    ('import os\nfor n in ("X", "Y"):\n    print(os.environ[n])', [("X", None, 2), ("Y", None, 2)]),
    ('import os\nA = {k: os.environ.get(k, d)\n     for k, d in {\n       "X": "1",\n       "Y": "2"}.items()}',
     [("X", "1", 4), ("Y", "2", 5)]),
    ('import os\nA = [os.environ[k] for k in ["X",\n "Y"] if k in os.environ]', [("X", None, 2), ("Y", None, 3)]),
    ('import os\nREQ = ("X", "Y")\nMISSING = set(REQ) - set(os.environ)', [("X", None, 2), ("Y", None, 2)]),
    ('import os\nREQ = {"X"}\nif not REQ <= os.environ.keys(): raise SystemExit(1)', [("X", None, 2)]),
    ('import os\nREQ = ("X",)\nA = all(os.getenv(n) for n in REQ)', [("X", None, 2)]),
    ('import os\nREQ = ["X"]\nA = list(filter(os.environ.get, REQ))', [("X", None, 2)]),
    ('import os\nA = list(map(os.environ.get, ("X", "Y")))', [("X", None, 2), ("Y", None, 2)]),
    ('import os\nA = os.environ.get("X", [])', [("X", "?", 2)]),
    ('import os, socket\nA = os.environ.get("X", socket.gethostname())', [("X", "?", 2)]),
    ('import os\nA = getattr(os, "environ")["X"]', [("X", None, 2)]),
    ('import os\nfrom functools import partial\nget = partial(os.environ.get, "X")\nA = get("d")', [("X", "d", 4)]),
    ('import os\nA = {**os.environ, "B": "1"}["X"]', [("X", None, 2)]),
    ('import os\nA = dict(os.environ).get("X", "d")', [("X", "d", 2)]),
    ('import os\nA = os.environ.copy().get("X")', [("X", None, 2)]),
    ('import os\nA = lambda: os.environ.get("X", "d")', [("X", "d", 2)]),
    ('import os\ndef f(a=os.environ.get("X", "d")): return a', [("X", "d", 2)]),
    ('import os\nA = next((v for n in ("X", "Y") if (v := os.environ.get(n))), "d")',
     [("X", "d", 2), ("Y", "d", 2)]),
    ('import os\nA = os.environ.get("X") and int(os.environ["X"]) or 5', [("X", "5", 2)]),
    ('import os\nassert os.environ.get("X"), "X is missing"', [("X", None, 2)]),
    ('import os\nA = os.environb.get(b"X", b"d")', [("X", "d", 2)]),
    ('import typer\ndef main(port: int = typer.Option(8000, envvar="X")): ...', [("X", "8000", 2)]),
    ('from decouple import config\nA = config("X", default="d")\nB = config("Y", cast=int)',
     [("X", "d", 2), ("Y", None, 3)]),
    ('from starlette.config import Config\nc = Config(".env")\nA = c("X", cast=int, default=8000)', [("X", "8000", 3)]),
    ('from environs import Env\nenv = Env()\nA = env.int("X", 8000)\nB = env("Y")', [("X", "8000", 3), ("Y", None, 4)]),
])
def test_a_variable_is_found_where_it_is_read(
    load: Load, source: str, expected: list[tuple[str, str | None, int]]
) -> None:
    facts = load(source)
    assert reads(facts) == expected
    assert not facts.unchecked


@pytest.mark.parametrize("body", [
    'if v := os.getenv("X"):\n    return v\nreturn "d"',
    'if v := os.getenv("X"):\n    return v\nelse:\n    return "d"',
    'v = os.getenv("X")\nif not v:\n    return "d"\nreturn v',
    'v = os.getenv("X")\nif v is None:\n    v = "d"\nreturn v',
    'if "X" in os.environ:\n    return os.environ["X"]\nreturn "d"',
    'if "X" not in os.environ:\n    return "d"\nreturn os.environ["X"]',
    'try:\n    return os.environ["X"]\nexcept KeyError:\n    return "d"',
    'try:\n    v = os.environ["X"]\nexcept (KeyError, ValueError):\n    v = "d"\nreturn v',
    'try:\n    v = os.environ["X"]\nexcept Exception:\n    log.warning("no X")\n    return "d"\nelse:\n    return v',
    'match os.environ.get("X"):\n    case None | "":\n        return "d"\n    case value:\n        return value',
    'value = "d"\nif os.environ.get("X"):\n    value = os.environ["X"].strip()\nreturn value',
    'values = [os.environ.get("X"), "d"]\nreturn next(v for v in values if v)',
    'return (os.environ.get("X") or "").strip() or "d"',
    'v = os.environ.get("X", "")\nv = v.strip()\nreturn v if v else "d"',
    'while True:\n    v = os.environ.get("X") or "d"\n    return v',
    'with lock:\n    return os.environ.get("X") or "d"',
])
def test_a_default_may_stand_lines_below(load: Load, body: str) -> None:
    source = "import os, logging\nlog = logging.getLogger()\ndef f():\n" + textwrap.indent(body, "    ")
    facts = load(source)
    assert named(facts) == {"X": "d"}, body
    assert not facts.unchecked


def test_the_place_of_a_helper_is_its_call(load: Load) -> None:
    facts = load(config_py="""
        import os
        def _env(name, default=None):
            value = os.environ.get(name)
            if value is None:
                return default
            return value
        def required(name: str) -> str:
            value = _env(name)
            if not value:
                raise RuntimeError(f"{name} is missing")
            return value
        HOST = _env("DB_HOST", "postgres")
        """, db_py="""
        from app.config import _env as env
        from app import config
        USER = config.required("DB_USER")
        PORT = int(env("DB_PORT", default="5432"))
        """)
    assert [(one.name, one.default, str(one.place)) for one in facts.reads] == [
        ("DB_HOST", "postgres", "src/app/config.py:13"), ("DB_USER", None, "src/app/db.py:4"),
        ("DB_PORT", "5432", "src/app/db.py:5")]
    assert not facts.unchecked


def test_names_and_helpers_come_from_other_files(load: Load) -> None:
    facts = load(names_py='PREFIX = "QTS_"\nclass Names:\n    DATA = PREFIX + "DATA_DIR"\nDEFAULT = "/srv/qts"\n',
                 env_py="""
        from __future__ import annotations
        import os
        from . import names
        class Env:
            def __init__(self, prefix=names.PREFIX):
                self.prefix = prefix
            def get(self, key, default=""):
                return os.environ.get(self.prefix + key, default)
            @classmethod
            def build(cls):
                return cls()
            @staticmethod
            def raw(key):
                return os.environ[key]
        env = Env.build()
        """, main_py="""
        from pathlib import Path
        from app.env import Env, env
        from app.names import *
        MODE = env.get("MODE", "paper")
        TOKEN = Env.raw("TOKEN")
        def data_dir():
            import os
            return Path(os.environ.get(Names.DATA, DEFAULT))
        """)
    assert reads(facts) == [("QTS_MODE", "paper", 5), ("TOKEN", None, 6), ("QTS_DATA_DIR", "/srv/qts", 9)]
    assert path(facts, "data_dir") == ("/srv/qts", ("QTS_DATA_DIR",))
    assert not facts.unchecked


def test_required_names_in_a_constant_of_another_file(load: Load) -> None:
    facts = load(runner_py='REQUIRED = (\n    "KIS_APP_KEY",\n    "KIS_APP_SECRET",\n)\n', main_py="""
        import os
        from app import runner
        def load(required):
            missing = [name for name in required if not os.environ.get(name)]
            if missing:
                raise SystemExit(f"missing: {missing}")
            return os.environ["KIS_APP_KEY"]
        def main():
            load(runner.REQUIRED)
        """)
    assert [(one.name, one.default, str(one.place)) for one in facts.reads] == [
        ("KIS_APP_KEY", None, "src/app/main.py:8"), ("KIS_APP_KEY", None, "src/app/runner.py:2"),
        ("KIS_APP_SECRET", None, "src/app/runner.py:3")]
    assert not facts.unchecked


def test_dataclass_fields_and_methods(load: Load) -> None:
    facts = load("""
        import os
        from dataclasses import dataclass, field
        @dataclass
        class Database:
            host: str = os.environ.get("DB_HOST", "postgres")
            port: int = field(default_factory=lambda: int(os.environ.get("DB_PORT", "5432")))
            name: str = ""
            def __post_init__(self):
                self.name = self.name or os.environ.get("DB_NAME", "")
            @classmethod
            def from_env(cls, env=os.environ):
                return cls(name=env.get("DB_SCHEMA", "public"))
        """)
    assert reads(facts) == [("DB_HOST", "postgres", 6), ("DB_PORT", "5432", 7), ("DB_NAME", "", 10),
                            ("DB_SCHEMA", "public", 13)]


def test_everything_of_a_function_is_seen_even_where_it_cannot_get(load: Load) -> None:
    facts = load("""
        import os, sys
        def main():
            key = os.environ["KEY"]
            if not os.environ.get("SECRET"):
                sys.exit("no SECRET")
            if os.environ.get("DEBUG") == "1":
                level = int(os.environ["LEVEL"])
                return os.environ.get("UNDER", "u")
            return key
            os.environ.get("AFTER")
        def never():
            if False:
                os.environ.get("DEAD", "x")
            for part in unknown():
                os.environ.get("LOOP", "y")
                break
            while os.environ.get("WHILE"):
                pass
            try:
                risky()
            except ValueError:
                os.environ.get("HANDLER")
            finally:
                os.environ.get("FINALLY")
        class A:
            def method(self):
                def inner():
                    return [os.environ.get("INNER") for _ in range(3)]
                return inner
        async def later():
            async with x as y:
                await z(os.environ.get("ASYNC", "a"))
        """)
    assert named(facts) == {"KEY": None, "SECRET": None, "DEBUG": None, "LEVEL": None, "UNDER": "u", "AFTER": None,
                            "DEAD": "x", "LOOP": "y", "WHILE": None, "HANDLER": None, "FINALLY": None, "INNER": None,
                            "ASYNC": "a"}
    assert not facts.unchecked


@pytest.mark.parametrize(("source", "line"), [
    ("import os, sys\nA = os.environ[sys.argv[1]]", 2),
    ("import os\nfor name in open('names'):\n    os.environ.get(name)", 3),
    ("import os\ndef f(name):\n    return os.environ.get(name)", 3),
    ("import os\ndef f(name):\n    return os.environ.get(name)\nf('A')\nf(input())", 5),
    ("import os\nA = {k: v for k, v in os.environ.items() if k.startswith('QTS_')}", 2),
    ("import os\nfor k in os.environ:\n    print(k)", 2),
    ("from environs import Env\nenv = Env()\nwith env.prefixed('A_'):\n    env.str('B')", 3),
    ("import os\nA = os.environ[X]", 2),
    ("import os\nclass A:\n    def get(self, n):\n        return os.environ[self.p + n]", 4),
])
def test_a_name_that_is_not_known_is_told_with_its_line(load: Load, source: str, line: int) -> None:
    assert ("", line) in doubts(load(source))


def test_a_helper_that_some_call_explains_is_no_doubt(load: Load) -> None:
    facts = load("""
        import os
        def env(name, default=""):
            return os.environ.get(name, default)
        def both(name):
            return env(name), env(f"{name}_FILE")
        A = both("DB_PASSWORD")
        """)
    assert reads(facts) == [("DB_PASSWORD", "", 7), ("DB_PASSWORD_FILE", "", 7)]
    assert not facts.unchecked


# --- pydantic ---------------------------------------------------------------------------------------


def test_settings_of_pydantic(load: Load) -> None:
    facts = load("""
        from functools import lru_cache
        from pathlib import Path
        from typing import Annotated, Optional
        from pydantic import AliasChoices, BaseModel, Field, SecretStr
        from pydantic_settings import BaseSettings, SettingsConfigDict
        class Broker(BaseModel):
            host: str = "broker"
            port: int = 4002
        class Common(BaseSettings):
            log_level: str = "INFO"
        class Settings(Common):
            model_config = SettingsConfigDict(env_prefix="QTS_", env_nested_delimiter="__")
            account: str
            secret: SecretStr = SecretStr("")
            live: bool = False
            data_dir: Path = Path("/opt/qts/data")
            db_url: str = Field(alias="DATABASE_URL")
            token: str = Field("", validation_alias=AliasChoices("KIS_TOKEN", "TOKEN"))
            workers: Annotated[int, Field(ge=1)] = 4
            note: Optional[str] = None
            broker: Broker = Broker(port=4001)
            @property
            def orders_dir(self) -> Path:
                return self.data_dir / "orders"
        @lru_cache
        def get_settings() -> Settings:
            return Settings()
        """)
    assert named(facts) == {
        "QTS_LOG_LEVEL": "INFO", "QTS_ACCOUNT": None, "QTS_SECRET": "", "QTS_LIVE": "false",
        "QTS_DATA_DIR": "/opt/qts/data", "DATABASE_URL": None, "KIS_TOKEN": "", "TOKEN": "", "QTS_WORKERS": "4",
        "QTS_NOTE": None, "QTS_BROKER__HOST": "broker", "QTS_BROKER__PORT": "4001"}
    assert path(facts, "data_dir") == ("/opt/qts/data", ("QTS_DATA_DIR",))
    assert path(facts, "orders_dir") == ("/opt/qts/data/orders", ("QTS_DATA_DIR",))
    assert not facts.unchecked


def test_old_settings_of_pydantic(load: Load) -> None:
    facts = load("""
        from pydantic import BaseSettings, Field, validator
        class Settings(BaseSettings):
            host: str = Field("postgres", env="DB_HOST")
            port: int = Field(5432, env=["DB_PORT", "PGPORT"])
            root: str = "/srv/x"
            class Config:
                env_prefix = "app_"
            @validator("root")
            def _root(cls, value):
                return value.rstrip("/")
        """)
    assert named(facts) == {"DB_HOST": "postgres", "DB_PORT": "5432", "PGPORT": "5432", "APP_ROOT": "/srv/x"}


def test_settings_whose_names_are_made_at_run_time(load: Load) -> None:
    facts = load("""
        import sys
        from pydantic_settings import BaseSettings
        class Settings(BaseSettings):
            model_config = {"env_prefix": sys.argv[1]}
            port: int = 8000
        """)
    assert not facts.reads
    assert ("", 4) in doubts(facts)


# --- paths ------------------------------------------------------------------------------------------

A = ("A_DIR",)
AR = ("A_DIR", "ROOT_DIR")


@pytest.mark.parametrize(("body", "default", "variables"), [
    ('return Path(os.environ.get("A_DIR", "/opt/a"))', "/opt/a", A),
    ('return Path(os.environ.get("A_DIR") or root() / "data")', "/opt/r/data", AR),
    ('return Path(os.environ.get("A_DIR", root() / "data"))', "/opt/r/data", AR),
    ('return Path(os.getenv("A_DIR") or f"{root()}/data").expanduser().resolve()', "/opt/r/data", AR),
    ('return root().joinpath("a", "b") / "c"', "/opt/r/a/b/c", ("ROOT_DIR",)),
    ('return os.path.join(str(root()), "a")', "/opt/r/a", ("ROOT_DIR",)),
    ('return root().with_name("s").parent / "t"', "/opt/t", ("ROOT_DIR",)),
    ('return (root() / "a.txt").with_suffix(".log")', "/opt/r/a.log", ("ROOT_DIR",)),
    ('return Path("/opt") / "x" / ".." / "y"', "/opt/x/../y", ()),
    ('return Path("/opt/x/../y").resolve()', "/opt/y", ()),
    ('return Path("/opt" + os.sep + "x")', "/opt/x", ()),
    ('if v := os.getenv("A_DIR"):\n    return Path(v)\nreturn root() / "d"', "/opt/r/d", AR),
    ('v = os.getenv("A_DIR")\nif v:\n    return Path(v)\nif os.getenv("B") == "1":\n    return Path("/b")\n'
     'return root()',
     "/opt/r", ("A_DIR", "B", "ROOT_DIR")),
    ('return Path("/app/data" if os.environ.get("MODE", "k8s") == "docker" else os.environ.get("A_DIR", "/opt/a"))',
     "/opt/a", ("MODE", "A_DIR")),
    ('base = Path("/opt/a")\nif os.environ.get("MODE") == "docker":\n    base = Path("/app")\nreturn base / "d"',
     "/opt/a/d", ("MODE",)),
    ('try:\n    return Path(os.environ["A_DIR"])\nexcept KeyError:\n    return root()', "/opt/r", AR),
    ('p = Path(os.environ.get("A_DIR", "/opt/a"))\ntry:\n    p.mkdir()\nexcept OSError:\n    pass\nreturn p',
     "/opt/a", A),
    ('p = Path(os.environ.get("A_DIR", "/opt/a"))\nif not p.exists():\n    log.warning("no %s", p)\nreturn p',
     "/opt/a", A),
    ('for name in ("A_DIR", "ROOT_DIR"):\n    if os.environ.get(name):\n        return Path(os.environ[name])\n'
     'return Path("/d")', "/d", AR),
    ('match os.environ.get("MODE", "prod"):\n    case "local":\n        return Path("/tmp/x")\n'
     '    case "prod" | "stage":\n        return Path("/opt/x")\n    case _:\n        raise ValueError',
     "/opt/x", ("MODE",)),
    ('value = os.environ.get("A_DIR")\nassert value is None or value.startswith("/")\nreturn Path(value or "/opt/a")',
     "/opt/a", A),
    ('parts = ["a", "b"]\nparts.append("c")\nreturn root().joinpath(*parts)', "/opt/r/a/b/c", ("ROOT_DIR",)),
    ('return {"prod": root(), "dev": Path("/tmp")}[os.environ.get("MODE", "prod")]', "/opt/r", ("MODE", "ROOT_DIR")),
    ('return functools.reduce(lambda a, b: a / b, ["x"], root())', None, ("ROOT_DIR",)),
    ('return Path(*["/", "opt", "x"])', "/opt/x", ()),
    ('return Path(os.fspath(root()))', "/opt/r", ("ROOT_DIR",)),
    ('return Path("relative") / "x"', "relative/x", ()),
    ('with contextlib.suppress(OSError):\n    root().mkdir()\nreturn root()', "/opt/r", ("ROOT_DIR",)),
    ('return _resolve("A_DIR", "data")', "/opt/r/data", AR),
    ('return _resolve(env="A_DIR", default="x/y")', "/opt/r/x/y", AR),
    ('return Places().cache', "/opt/r/cache", ("CACHE_DIR", "ROOT_DIR")),
    ('return Places.top() / "t"', "/opt/r/t", ("ROOT_DIR",)),
    ('return (lambda p: p / "l")(root())', "/opt/r/l", ("ROOT_DIR",)),
])
def test_a_path_is_what_it_is_without_variables(
    load: Load, body: str, default: str | None, variables: tuple[str, ...]
) -> None:
    facts = load("import contextlib, functools, logging, os\nfrom pathlib import Path\nlog = logging.getLogger()\n"
                 'DEFAULT_ROOT = "/opt/r"\n'
                 "@functools.cache\ndef root() -> Path:\n    return Path(os.environ.get('ROOT_DIR', DEFAULT_ROOT))\n"
                 "def _resolve(env, default):\n    value = os.environ.get(env)\n"
                 "    return Path(value) if value else root() / default\n"
                 "class Places:\n    @property\n    def cache(self):\n        return _resolve('CACHE_DIR', 'cache')\n"
                 "    @staticmethod\n    def top():\n        return root()\n"
                 "def wanted_dir():\n" + textwrap.indent(body, "    "))
    assert path(facts, "wanted_dir") == (default, variables)
    assert (("wanted_dir" in [about for about, _ in doubts(facts)]) is (default is None))


@pytest.mark.parametrize(("body", "reason"), [
    ("return Path(__file__).parent / 'data'", "__file__"),
    ("return Path.cwd() / 'data'", "working directory"),
    ("return Path('data').resolve()", "working directory"),
    ("return Path('data').absolute()", "working directory"),
    ("return Path(os.path.abspath('data'))", "working directory"),
    ("return Path.home() / 'data'", "home"),
    ("return Path('~/data').expanduser()", "home"),
    ("return Path('C:/') if sys.platform == 'win32' else Path('/opt')", "machine"),
    ("return Path('/app') if Path('/.dockerenv').exists() else Path('/opt')", "disk"),
    ("p = Path('/opt/a')\ntry:\n    p.mkdir()\nexcept OSError:\n    p = Path('/tmp/a')\nreturn p", "fails"),
    ("try:\n    return Path(open('/etc/x').read())\nexcept OSError:\n    return Path('/opt')", "fails"),
    ("return Path(tempfile.gettempdir()) / 'x'", "machine"),
    ("return Path(sys.argv[1])", "command line"),
    ("p = Path('/')\nwhile x():\n    p = p / 'a'\nreturn p", "loop"),
    ("for p in Path('/opt').iterdir():\n    return p", "disk"),
    ("return Path('/opt') / argument()", "argument"),
    ("return Path('/opt', datetime.now().strftime('%Y'))", "time"),
    ("return wanted_dir() / 'x'", "calls itself"),
    ("return CHANGED / 'x'", "CHANGED"),
    ("return Path(os.path.expandvars('$DATA/x'))", "its variables"),
])
def test_a_path_that_depends_on_more_is_not_guessed(load: Load, body: str, reason: str) -> None:
    facts = load("import os, sys, tempfile\nfrom datetime import datetime\nfrom pathlib import Path\n"
                 "CHANGED = Path('/opt')\ndef change(p):\n    global CHANGED\n    CHANGED = p\n"
                 "def wanted_dir() -> Path:\n" + textwrap.indent(body, "    "))
    assert facts.paths["wanted_dir"].default is None
    found = next(one for one in facts.unchecked if one.about == "wanted_dir")
    assert reason in found.reason
    assert found.place.line > 1


class Environment(dict[str, str]):
    """In place of os.environ, for sources of these tests that are really run."""

    asked: set[str]

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.asked = set()

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: object = None) -> Any:  # noqa: ANN401
        self.asked.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


def really(source: str, values: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> tuple[str | None, set[str]]:
    """What a source's wanted_dir() gives when it is run, None when it fails, and what it asked for."""
    environment = Environment(values)
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", environment)
        names: dict[str, Any] = {}
        try:
            exec(compile(source, "main.py", "exec"), names)
            return str(names["wanted_dir"]()), environment.asked
        except (AttributeError, KeyError, TypeError, ValueError):
            return None, environment.asked


VARIABLES = ("A_DIR", "ROOT_DIR", "MODE", "B")


class Sources:
    """Writes path functions as people do, by chance."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.names = ["base"]

    def one_of(self, *choices: str) -> str:
        return self.random.choice(choices)

    def name(self) -> str:
        return self.one_of(*VARIABLES)

    def text(self, depth: int = 0) -> str:
        """An expression that gives a text."""
        if depth > 2:
            return self.one_of('"/opt"', '"data"', '"prod"', *self.names)
        one, other, name = self.text(depth + 1), self.text(depth + 1), self.name()
        return self.one_of(
            f'os.environ.get("{name}", {one})', f'(os.environ.get("{name}") or {one})', f'os.getenv("{name}", "")',
            f"({one} if {self.condition(depth + 1)} else {other})", f"os.path.join({one}, {other})",
            f"str(Path({one}) / {other})", f'env("{name}", {one})', f'"{{}}/{{}}".format({one}, {other})',
            f'next((v for v in (os.environ.get("{name}"), {one}) if v), {other})', f"({one}).strip().lower()",
            f'{{"prod": {one}, "b": {other}}}.get(os.environ.get("MODE", "prod"), {one})', *self.names)

    def condition(self, depth: int = 0) -> str:
        name = self.name()
        return self.one_of(
            f'"{name}" in os.environ', f'os.environ.get("{name}") is None', f'os.environ.get("{name}", "b") == "b"',
            f'not os.environ.get("{name}")', f'any(os.getenv(n) for n in ("{name}", "B"))',
            f'({self.text(depth + 1)}).startswith("/")')

    def block(self, depth: int = 0) -> list[str]:
        """Statements."""
        lines: list[str] = []
        for _ in range(self.random.randint(1, 3)):
            name, text, variable = f"v{self.random.randint(0, 3)}", self.text(), self.name()
            inner = ["    " + line for line in self.block(depth + 1)] if depth < 2 else ["    pass"]
            lines += self.random.choice([
                [f"{name} = {text}"],
                [f"if {self.condition()}:", *inner],
                [f'if found := os.environ.get("{variable}"):', "    return Path(found)", f"{name} = {text}"],
                ["try:", f'    {name} = os.environ["{variable}"]', "except KeyError:", f"    {name} = {text}"],
                [f"{name} = {text}", 'for which in ("A_DIR", "B"):', "    if os.environ.get(which):",
                 f"        {name} = os.environ[which]", "        break", "else:", f"    {name} = {text}"],
                [f"match {text}:", '    case "prod" | "data":', *("    " + line for line in inner), "    case _:",
                 f"        base = {text}"],
                [f"all_of = [{text}]", f"if {self.condition()}:", f"    all_of.append({text})", f"{name} = all_of[-1]"],
                [f"if {self.condition()}:", f"    return Path({text})"],
            ])
            if depth == 0 and lines[-1].startswith(f"{name} = ") and name not in self.names:
                self.names.append(name)
        return lines

    def source(self) -> str:
        body = ["base = '/opt/x'", *self.block(), f"return Path({self.text()}) / {self.text()}"]
        return ("import os\nfrom pathlib import Path\ndef env(name, default):\n    value = os.environ.get(name)\n"
                "    if not value:\n        return default\n    return value\ndef wanted_dir():\n"
                + "".join(f"    {line}\n" for line in body))


@pytest.mark.parametrize("seeds", [range(start, start + 10) for start in range(0, 100, 10)], ids=str)
def test_what_is_said_of_a_path_is_what_its_source_does(
    load: Load, monkeypatch: pytest.MonkeyPatch, seeds: range
) -> None:
    known = 0
    for seed in seeds:
        source = Sources(seed).source()
        facts = load(source)
        found = facts.paths["wanted_dir"]
        gives, asked = really(source, {}, monkeypatch)
        if found.default is None:
            assert gives is None or "wanted_dir" in [about for about, _ in doubts(facts)], source
            continue
        known += 1
        assert found.default == gives, source
        for name, value in itertools.product(VARIABLES, ("prod", "/set")):
            other, more = really(source, {name: value}, monkeypatch)
            asked |= more
            assert other in {gives, None} or name in found.variables, source
        assert asked <= set(named(facts)), source
    assert known > 5


def test_a_path_without_a_default_is_certain(load: Load) -> None:
    facts = load("""
        import os
        from pathlib import Path
        def a_dir() -> Path:
            return Path(os.environ["A_DIR"])
        def b_dir() -> Path:
            value = os.environ.get("B_DIR")
            if not value:
                raise RuntimeError("B_DIR is missing")
            return Path(value)
        def c_dir():
            return Path(os.environ.get("C_DIR")) / "c"
        """)
    for name in ("a_dir", "b_dir", "c_dir"):
        assert path(facts, name) == (None, (name.upper(),))
    assert not facts.unchecked
    assert named(facts) == {"A_DIR": None, "B_DIR": None, "C_DIR": None}


def test_names_of_paths_get_their_file_only_where_they_clash(load: Load) -> None:
    facts = load(paths_py="""
        from pathlib import Path
        def data_dir(): return Path("/opt/data")
        def log_dir(): return Path("/opt/logs")
        """, deployment_paths_py="""
        from pathlib import Path
        from app import paths
        def data_dir(): return paths.data_dir()
        def log_dir(): return Path("/var/log")
        """)
    assert facts.paths["data_dir"].default == facts.paths["paths.data_dir"].default == "/opt/data"
    assert facts.paths["paths.log_dir"].default == "/opt/logs"
    assert facts.paths["deployment_paths.log_dir"].default == "/var/log"
    assert "log_dir" not in facts.paths
    assert [one.about for one in facts.unchecked] == ["log_dir"]


def test_constants_are_paths_too(load: Load) -> None:
    facts = load(settings_py="""
        import os
        from pathlib import Path
        BASE_DIR = Path(os.environ.get("BASE_DIR", "/srv/qts"))
        LOG_DIR = BASE_DIR / "logs"
        STATE = os.path.join(BASE_DIR, "state")
        HEALTH = "/health"
        NAME = "qts"
        class Paths:
            DATA = BASE_DIR / "data"
            def __init__(self):
                self.spool = self.DATA / "spool"
        """)
    assert {name: one.default for name, one in facts.paths.items()} == {
        "BASE_DIR": "/srv/qts", "LOG_DIR": "/srv/qts/logs", "STATE": "/srv/qts/state", "DATA": "/srv/qts/data",
        "spool": "/srv/qts/data/spool"}
    assert facts.paths["spool"].place.line == 12


# --- folders that are made --------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "expected"), [
    ("p.mkdir(parents=True)", [("p.mkdir", False, 5)]),
    ("os.makedirs(p, exist_ok=True)", [("os.makedirs", False, 5)]),
    ("makedirs(p)", [("makedirs", False, 5)]),
    ("ensure(p)", [("ensure", False, 5)]),
    ("try:\n    p.mkdir()\nexcept OSError:\n    pass", [("p.mkdir", True, 6)]),
    ("try:\n    p.mkdir()\nexcept Exception as e:\n    log.warning(e)", [("p.mkdir", True, 6)]),
    ("try:\n    p.mkdir()\nexcept:\n    pass", [("p.mkdir", True, 6)]),
    ("try:\n    p.mkdir()\nexcept (ValueError, OSError):\n    pass", [("p.mkdir", True, 6)]),
    ("try:\n    p.mkdir()\nexcept OSError:\n    raise", [("p.mkdir", False, 6)]),
    ("try:\n    p.mkdir()\nexcept OSError as e:\n    if e.errno != 30:\n        raise", [("p.mkdir", False, 6)]),
    ("try:\n    p.mkdir()\nexcept OSError:\n    sys.exit(1)", [("p.mkdir", False, 6)]),
    ("try:\n    p.mkdir()\nexcept FileExistsError:\n    pass", [("p.mkdir", False, 6)]),
    ("try:\n    p.mkdir()\nexcept PermissionError:\n    raise\nexcept OSError:\n    pass", [("p.mkdir", False, 6)]),
    ("try:\n    x()\nexcept OSError:\n    p.mkdir()", [("p.mkdir", False, 8)]),
    ("try:\n    x()\nexcept OSError:\n    pass\nelse:\n    p.mkdir()", [("p.mkdir", False, 10)]),
    ("try:\n    try:\n        p.mkdir()\n    except ValueError:\n        pass\nexcept OSError:\n    pass",
     [("p.mkdir", True, 7)]),
    ("with contextlib.suppress(OSError):\n    p.mkdir()", [("p.mkdir", True, 6)]),
    ("with suppress(ERRORS):\n    p.mkdir()", [("p.mkdir", True, 6)]),
    ("with suppress(FileExistsError):\n    p.mkdir()", [("p.mkdir", False, 6)]),
    ("try:\n    def later():\n        p.mkdir()\nexcept OSError:\n    pass", [("p.mkdir", False, 7)]),
    ("for q in x:\n    Path(q).mkdir()", [("Path(q).mkdir", False, 6)]),
    ("list(map(os.makedirs, x))", [("os.makedirs", False, 5)]),
    ("pool.submit(p.mkdir)", [("p.mkdir", False, 5)]),
    ("subprocess.run(['mkdir', '-p', '/x'])", [("subprocess.run mkdir", False, 5)]),
    ("os.system('mkdir -p /x')", [("os.system mkdir", False, 5)]),
    ("getattr(os, 'makedirs')(p)", [("getattr(os, 'makedirs')", False, 5)]),
    ("class A:\n    def mkdir(self):\n        pass\n    def go(self):\n        self.mkdir()", []),
    ("p.is_dir()", []),
    ("'mkdir'", []),
])
def test_a_folder_that_is_made(load: Load, source: str, expected: list[tuple[str, bool, int]]) -> None:
    facts = load("import os, sys\nfrom os import makedirs\nERRORS = (OSError, ValueError)\n"
                 "ensure = os.makedirs\n" + source)
    assert [(one.call, one.guarded, one.place.line) for one in facts.creations] == expected


def test_a_helper_that_makes_folders_counts_once_where_it_does(load: Load) -> None:
    facts = load(folders_py="import os\nensure = os.makedirs\ndef mkdir(p):\n    os.mkdir(p)\n", main_py="""
        from app import folders
        from app.folders import ensure as make
        folders.mkdir("/a")
        folders.ensure("/b")
        make("/c")
        """)
    assert [(one.call, str(one.place)) for one in facts.creations] == [
        ("os.mkdir", "src/app/folders.py:4"), ("folders.ensure", "src/app/main.py:5"), ("make", "src/app/main.py:6")]


# --- ports and routes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("source", "ports"), [
    ("uvicorn.run(app, host='0.0.0.0', port=8000)", ["8000"]),
    ("uvicorn.run(app, port=int(os.environ.get('SERVICE_PORT', '8000')))", ["8000"]),
    ("uvicorn.run(app)", ["8000"]),
    ("uvicorn.run(app, uds='/run/x.sock')", []),
    ("uvicorn.run(app, **{'port': 9000})", ["9000"]),
    ("uvicorn.Server(uvicorn.Config(app, port=9000)).run()", ["9000"]),
    ("app.run(host='0.0.0.0', port=5000)", ["5000"]),
    ("web.run_app(app, port=int(float(os.getenv('PORT') or 8080)))", ["8080"]),
    ("HTTPServer(('', 8000), Handler).serve_forever()", ["8000"]),
    ("ADDRESS = ('0.0.0.0', int(os.environ.get('PORT', 8000)))\nHTTPServer(ADDRESS, Handler)", ["8000"]),
    ("class Server(HTTPServer):\n    pass\nServer(('', 8001), Handler)", ["8001"]),
    ("sock.bind(('0.0.0.0', 8000))", ["8000"]),
    ("sock.bind(('127.0.0.1', 0))", []),
    ("sock.bind('/run/x.sock')", []),
    ("log.bind(user=1)", []),
    ("async def main():\n    await asyncio.start_server(serve, '0.0.0.0', 8000)", ["8000"]),
    ("p = argparse.ArgumentParser()\np.add_argument('--port', type=int, default=os.environ.get('PORT', '8000'))\n"
     "args = p.parse_args()\nuvicorn.run(app, port=args.port)", ["8000", "8000"]),
    ("import click\n@click.command()\n@click.option('--port', default=8000)\ndef main(port):\n"
     "    uvicorn.run(app, port=port)", ["8000", "8000"]),
    ("if __name__ == '__main__':\n    uvicorn.run('app:app', port=8000)", ["8000"]),
    ("if os.environ.get('MODE') == 'prod':\n    uvicorn.run(app, port=80)\nelse:\n    uvicorn.run(app, port=8000)",
     ["8000"]),
    ("def port():\n    try:\n        return int(os.environ['PORT'])\n    except (KeyError, ValueError):\n"
     "        return 8000\nuvicorn.run(app, port=port())", ["8000"]),
    ("def main(port=8000):\n    uvicorn.run(app, port=port)", ["8000"]),
    ("redis.Redis(port=6379)\nasyncpg.connect(port=5432)\nsubprocess.run(['x'])", []),
    ("class C:\n    port = int(os.environ.get('PORT', '8000'))\nclass D(C):\n    pass\nuvicorn.run(app, port=D.port)",
     ["8000"]),
    ("cfg = {'server': {'port': 8000}}\nuvicorn.run(app, port=cfg['server']['port'])", ["8000"]),
])
def test_the_port_of_a_server(load: Load, source: str, ports: list[str]) -> None:
    facts = load("import argparse, asyncio, os, uvicorn\nfrom aiohttp import web\nfrom http.server import HTTPServer\n"
                 + source)
    assert [one.value for one in facts.ports] == ports
    assert not facts.unchecked


@pytest.mark.parametrize(("source", "line"), [
    ("uvicorn.run(app, port=settings.port)", 2),
    ("uvicorn.run(app, **options())", 2),
    ("uvicorn.run(app, port=int(os.environ['PORT']))", 2),
    ("def main(port):\n    uvicorn.run(app, port=port)", 3),
    ("uvicorn.run(app, port=yaml.safe_load(open('x'))['port'])", 2),
])
def test_a_port_that_is_not_known(load: Load, source: str, line: int) -> None:
    facts = load("import os, uvicorn\n" + source)
    assert not facts.ports
    assert ("port", line) in doubts(facts)


@pytest.mark.parametrize(("source", "routes"), [
    ("app = Starlette(routes=[Route('/health', health), Route('/x', x, methods=['POST'])])", ["/health"]),
    ("app = FastAPI()\n@app.get('/health')\ndef health(): ...\n@app.post('/x')\ndef x(): ...", ["/health"]),
    ("app = Flask(__name__)\n@app.route('/health')\ndef h(): ...\n@app.route('/x', methods=['POST'])\ndef x(): ...",
     ["/health"]),
    ("HEALTH = '/health'\ndef build():\n    app = FastAPI()\n    @app.get(HEALTH)\n    async def health(): ...\n"
     "    return app", ["/health"]),
    ("app = web.Application()\napp.router.add_get('/health', h)\napp.router.add_route('POST', '/x', x)\n"
     "app.add_routes([web.get('/ready', r)])", ["/health", "/ready"]),
    ("router = APIRouter(prefix='/api')\n@router.get('/health')\ndef h(): ...\napp = FastAPI()\n"
     "app.include_router(router, prefix='/v1')", ["/v1/api/health"]),
    ("bp = Blueprint('b', __name__, url_prefix='/api')\n@bp.route('/health')\ndef h(): ...\n", ["/api/health"]),
    ("app = Starlette(routes=[Mount('/api', routes=[Route('/health', h)])])", ["/api/health"]),
    ("app.add_api_route('/health', h)\napp.add_url_rule('/ready', 'r', r)", ["/health", "/ready"]),
    ("class H(BaseHTTPRequestHandler):\n    def do_GET(self):\n        path = urlparse(self.path).path\n"
     "        if path == '/health': ...\n        elif path in ('/ready', '/readyz'): ...\n"
     "    def do_POST(self):\n        if self.path == '/x': ...", ["/health", "/ready", "/readyz"]),
    ("ROUTES = {'/health': 1}\nclass H:\n    def do_GET(self):\n        f = ROUTES.get(self.path)", ["/health"]),
    ("class H:\n    def do_GET(self):\n        match self.path:\n            case '/health': ...", ["/health"]),
    ("requests.get('/health')\nclient.get('/ready')", []),
])
def test_routes(load: Load, source: str, routes: list[str]) -> None:
    facts = load("from aiohttp import web\nfrom fastapi import APIRouter, FastAPI\nfrom flask import Blueprint, Flask\n"
                 "from starlette.applications import Starlette\nfrom starlette.routing import Mount, Route\n" + source)
    assert [one.value for one in facts.routes] == routes


# --- .env.example -----------------------------------------------------------------------------------


def example(tmp_path: Path, content: str | bytes, file: str = ".env.example") -> AppFacts:
    (tmp_path / "src").mkdir(exist_ok=True)
    (tmp_path / "src" / "main.py").write_text("")
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return load_app(tmp_path)


@pytest.mark.parametrize(("line", "default", "required", "secret"), [
    ("A=b", "b", None, None),
    ("A=", "", None, None),
    ("export A=b", "b", None, None),
    ("A = b", "b", None, None),
    ("A='b # c'", "b # c", None, None),
    ('A="b \\"c\\""  # required', 'b "c"', True, False),
    ("A=b#c", "b#c", None, None),
    ("A=b  # optional: not required at all", "b", False, False),
    ("A=  # required, secret: the key", "", True, True),
    ("A=    # Required. The user", "", True, False),
    ("A=b # database password (required, secret)", "b", True, True),
    ("A=b # [optional]", "b", False, False),
    ("A=b # the name of a secret of the cluster", "b", None, None),
    ("A=b # 필수: 계정", "b", True, False),
    ("A=http://x/?a=b&c=d", "http://x/?a=b&c=d", None, None),
    ("A=값", "값", None, None),
    ("# required\nA=b", "b", True, False),
    ("#A=c\nA=b", "b", None, None),
    ("R=/opt\nA=${R}/data", "/opt/data", None, None),
    ("A=${R:-/opt}/data", "/opt/data", None, None),
    ("A='${R}'", "${R}", None, None),
    ('A="x\ny"', "x\ny", None, None),
])
def test_a_line_of_the_example(
    tmp_path: Path, line: str, default: str, required: bool | None, secret: bool | None
) -> None:
    facts = example(tmp_path, line)
    found = facts.examples["A"]
    assert (found.default, found.required, found.secret) == (default, required, secret)
    assert not facts.unchecked


@pytest.mark.parametrize(("content", "about", "line"), [
    ("A=1\nA=2\n", "A", 2), ("\n1A=2\n", "", 2), ("A\n", "A", 1), ("A: b\n", "A", 1), ('A="b\n', "A", 1),
    ("A=${NOT}/x\n", "A", 1), ("A='b' c\n", "A", 1), (b"\xff\xfe\x00\xd8", "", 0), (b"A=\x00", "", 1),
])
def test_a_line_of_the_example_that_says_nothing_certain(
    tmp_path: Path, content: str | bytes, about: str, line: int
) -> None:
    facts = example(tmp_path, content)
    assert (about, line) in doubts(facts) or [one.about for one in facts.unchecked] == [about]


def test_where_the_example_is(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.py").write_text("")
    assert load_app(tmp_path).example_file == Place(".env.example")
    facts = example(tmp_path, "A=1", "config/.env.example")
    assert facts.example_file == Place("config/.env.example")
    assert facts.examples["A"].place == Place("config/.env.example", 1)
    both = example(tmp_path, "B=1")
    assert set(both.examples) == {"B"}
    assert [one.place.file for one in both.unchecked] == ["config/.env.example"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_the_example_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    assert example(tmp_path, "A=b\r\n# 설명\r\nB=c\r\n".encode(encoding)).examples["B"].default == "c"


def test_a_heading_of_the_example_is_of_all_below_it(tmp_path: Path) -> None:
    facts = example(tmp_path, "# === Required ===\nA=1\nB=2\n\nC=3\n# secret\nD=4\n# other\nE=5\n")
    assert [(one.name, one.required, one.secret) for one in facts.examples.values()] == [
        ("A", True, False), ("B", True, False), ("C", None, None), ("D", None, True), ("E", None, None)]


# --- whole apps -------------------------------------------------------------------------------------

PRJ_OBS = {
    "__init__.py": """
        import os
        OBSERVER_STANDALONE = os.environ.get("OBSERVER_STANDALONE", "1") == "1"
        """,
    "paths.py": '''
        """Path resolution."""
        from __future__ import annotations
        import logging
        import os
        from pathlib import Path
        from typing import Optional

        logger = logging.getLogger(__name__)
        DEFAULT_ROOT = "/opt/platform/runtime/observer"
        ENV_DATA_DIR = "OBSERVER_DATA_DIR"

        def _is_docker() -> bool:
            return os.environ.get("OBSERVER_MODE", "docker").lower() == "docker"

        def _runtime_root() -> Path:
            if _is_docker():
                return Path(DEFAULT_ROOT)
            return Path.cwd() / "runtime"

        def _ensure(path: Path) -> Path:
            """Creates where it can."""
            try:
                path.mkdir(parents=True, exist_ok=True)
            except (OSError, PermissionError) as e:
                logger.debug("mkdir failed: %s", e)
            return path

        def _resolve(env: str, default: Path | str, *, create: bool = True) -> Path:
            if raw := os.environ.get(env):
                path = Path(raw).expanduser()
            else:
                path = Path(default)
            return _ensure(path) if create else path

        def data_dir() -> Path:
            return _resolve(ENV_DATA_DIR, _runtime_root() / "data")

        def log_dir(name: Optional[str] = None) -> Path:
            base = _resolve("OBSERVER_LOG_DIR", f"{_runtime_root()}/logs")
            if name:
                base = base / name
                try:
                    os.makedirs(base, exist_ok=True)
                except Exception:
                    pass
            return base

        def config_dir() -> Path:
            return _resolve("OBSERVER_CONFIG_DIR", os.path.join(_runtime_root(), "config"), create=False)

        def snapshot_dir():
            env_path = os.getenv("OBSERVER_SNAPSHOT_DIR")
            if env_path:
                path = Path(env_path)
            else:
                path = _runtime_root().joinpath("universe")
            try:
                path.mkdir(exist_ok=True)
            except OSError:
                pass
            return path

        def system_log_dir() -> Path:
            return _resolve("OBSERVER_SYSTEM_LOG_DIR", log_dir() / "system")

        def maintenance_log_dir() -> Path:
            return _resolve("OBSERVER_MAINTENANCE_LOG_DIR", log_dir("maintenance"))

        def kis_token_cache_dir() -> Path:
            return _resolve("KIS_TOKEN_CACHE_DIR", data_dir() / "cache")
        ''',
    "deployment_paths.py": """
        from pathlib import Path
        from app.paths import data_dir as _data_dir, log_dir as _log_dir
        from . import paths

        class DeploymentPaths:
            @property
            def data_dir(self) -> Path:
                return _data_dir()

            @staticmethod
            def log_dir() -> Path:
                return _log_dir()

        def snapshot_dir() -> Path:
            return paths.snapshot_dir()

        def runtime_socket_dir() -> Path:
            path = _data_dir() / "run"
            path.mkdir(parents=True, exist_ok=True)
            return path

        def temp_dir() -> Path:
            p = paths.data_dir() / "tmp"
            try:
                p.mkdir(parents=True, exist_ok=True)
            except OSError:
                raise
            return p
        """,
    "realtime_writer.py": """
        import os
        class RealtimeWriter:
            def __init__(self):
                self.dsn = dict(
                    host=os.environ.get("DB_HOST") or os.environ.get("PGHOST") or "postgres",
                    port=int(os.environ.get("DB_PORT", "5432")),
                    user=os.environ.get("DB_USER"), password=os.environ.get("DB_PASSWORD"))
        """,
    "observer_runner.py": """
        import asyncio, logging, os, sys
        import uvicorn
        from app import deployment_paths
        from app.api_server import app
        REQUIRED_ENV = [
            "KIS_APP_KEY",
            "KIS_APP_SECRET",
        ]
        def validate() -> None:
            missing = []
            for name in REQUIRED_ENV:
                if not os.environ.get(name):
                    missing.append(name)
            if missing:
                logging.error("missing %s", missing)
                sys.exit(1)
        async def run() -> None:
            validate()
            port = int(os.environ.get("SERVICE_PORT", "8000"))
            server = uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=port))
            await server.serve()
        if __name__ == "__main__":
            asyncio.run(run())
        """,
    "api_server.py": """
        from fastapi import FastAPI
        app = FastAPI(title="Observer")
        @app.get("/health")
        async def health(): return {"status": "healthy"}
        @app.get("/ready")
        async def ready(): return {}
        """,
}


def test_an_app_as_seed_001_describes_it(load: Load) -> None:
    facts = load(files=PRJ_OBS)
    expected = {
        "data_dir": (f"{BASE}/data", "OBSERVER_DATA_DIR"), "log_dir": (f"{BASE}/logs", "OBSERVER_LOG_DIR"),
        "config_dir": (f"{BASE}/config", "OBSERVER_CONFIG_DIR"),
        "snapshot_dir": (f"{BASE}/universe", "OBSERVER_SNAPSHOT_DIR"),
        "system_log_dir": (f"{BASE}/logs/system", "OBSERVER_SYSTEM_LOG_DIR"),
        "maintenance_log_dir": (f"{BASE}/logs/maintenance", "OBSERVER_MAINTENANCE_LOG_DIR"),
        "kis_token_cache_dir": (f"{BASE}/data/cache", "KIS_TOKEN_CACHE_DIR"),
    }
    for name, (default, variable) in expected.items():
        found = facts.paths[name]
        assert (found.default, found.variables[0]) == (default, variable), name
        assert found.variables[-1] == "OBSERVER_MODE"
    assert facts.paths["runtime_socket_dir"].default == f"{BASE}/data/run"
    assert {(one.place.file.rpartition("/")[2], one.guarded) for one in facts.creations} == {
        ("paths.py", True), ("deployment_paths.py", False)}
    assert len(facts.creations) == 5
    found_reads = named(facts)
    assert found_reads["KIS_APP_KEY"] is found_reads["KIS_APP_SECRET"] is found_reads["DB_USER"] is None
    assert {name: found_reads[name] for name in ("DB_HOST", "PGHOST", "DB_PORT", "OBSERVER_STANDALONE",
                                                 "SERVICE_PORT", "OBSERVER_DATA_DIR", "OBSERVER_MODE")} == {
        "DB_HOST": "postgres", "PGHOST": "postgres", "DB_PORT": "5432", "OBSERVER_STANDALONE": "1",
        "SERVICE_PORT": "8000", "OBSERVER_DATA_DIR": f"{BASE}/data", "OBSERVER_MODE": "docker"}
    places = {one.name: one.place for one in facts.reads}
    assert places["KIS_APP_KEY"] == Place("src/app/observer_runner.py", 7)
    assert places["OBSERVER_CONFIG_DIR"] == Place("src/app/paths.py", 50)
    assert [one.value for one in facts.ports] == ["8000"]
    assert [one.value for one in facts.routes] == ["/health", "/ready"]
    assert not facts.unchecked


QTS = {
    "config/settings.py": """
        from __future__ import annotations
        import os
        from dataclasses import dataclass, field
        from enum import Enum
        from pathlib import Path
        from typing import ClassVar

        class Mode(str, Enum):
            PAPER = "paper"
            LIVE = "live"

        def env_int(name: str, default: int) -> int:
            raw = os.getenv(name, "").strip()
            if not raw:
                return default
            try:
                return int(raw)
            except ValueError as error:
                raise ValueError(f"{name} must be a number") from error

        def env_path(name: str, *parts: str) -> Path:
            return Path(os.environ.get(name) or Path(Settings.ROOT, *parts))

        def secret(name: str) -> str:
            if (file := os.getenv(f"{name}_FILE")) is not None:
                return Path(file).read_text().strip()
            try:
                return os.environ[name]
            except KeyError:
                raise SystemExit(f"{name} is required") from None

        @dataclass(frozen=True)
        class Broker:
            host: str = field(default_factory=lambda: os.getenv("BROKER_HOST", "openapi.example"))
            port: int = field(default_factory=lambda: env_int("BROKER_PORT", 9443))

        @dataclass(frozen=True)
        class Settings:
            ROOT: ClassVar[str] = os.environ.get("QTS_RUNTIME_ROOT", "/opt/platform/runtime/qts")
            mode: Mode = field(default_factory=lambda: Mode(os.getenv("QTS_MODE", Mode.PAPER.value)))
            port: int = field(default_factory=lambda: env_int("SERVICE_PORT", 8100))
            data_dir: Path = field(default_factory=lambda: env_path("QTS_DATA_DIR", "data"))
            broker: Broker = field(default_factory=Broker)

            @property
            def ledger_dir(self) -> Path:
                return self.data_dir / "ledger"

            @classmethod
            def load(cls) -> Settings:
                secret("BROKER_TOKEN")
                return cls()
        """,
    "config/__init__.py": "from .settings import Settings, env_int\n",
    "server.py": """
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
        from .config import Settings

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    self.send_response(200)
                elif self.path.startswith("/ready"):
                    self.send_response(503)

        def serve(settings: Settings) -> None:
            with ThreadingHTTPServer(("0.0.0.0", settings.port), Handler) as httpd:
                httpd.serve_forever()

        def main() -> int:
            try:
                settings = Settings.load()
            except (ValueError, SystemExit) as error:
                print(error)
                return 2
            serve(settings)
            return 0
        """,
}


def test_an_app_with_settings_classes(load: Load) -> None:
    facts = load(files=QTS)
    assert named(facts) == {
        "BROKER_HOST": "openapi.example", "BROKER_PORT": "9443", "QTS_RUNTIME_ROOT": "/opt/platform/runtime/qts",
        "QTS_MODE": "paper", "SERVICE_PORT": "8100", "QTS_DATA_DIR": "/opt/platform/runtime/qts/data",
        "BROKER_TOKEN": None, "BROKER_TOKEN_FILE": None}
    assert path(facts, "ledger_dir") == ("/opt/platform/runtime/qts/data/ledger", ("QTS_DATA_DIR", "QTS_RUNTIME_ROOT"))
    assert [one.value for one in facts.ports] == ["8100"]
    assert [one.value for one in facts.routes] == ["/health", "/ready"]
    assert not [one for one in facts.unchecked if one.about in {"", "port"}]


# --- hostile input ----------------------------------------------------------------------------------


def test_a_file_that_is_no_python_is_told_and_the_rest_is_read(load: Load, tmp_path: Path) -> None:
    folder = tmp_path / "src" / "app"
    folder.mkdir(parents=True)
    (folder / "binary.py").write_bytes(b"\x80\x81\xff")
    (folder / "large.py").write_bytes(b"#" * (8 * 1024**2 + 1))
    (folder / "utf16.py").write_text('import os\nB = os.environ["B"]\n', encoding="utf-16")
    facts = load(broken_py="x = 1\ndef f(:\n", main_py='import os\nA = os.environ["A"]')
    assert named(facts) == {"A": None, "B": None}
    assert {(one.place.file.rpartition("/")[2], one.place.line) for one in facts.unchecked} == {
        ("binary.py", 1), ("large.py", 0), ("broken.py", 2)}


def test_links_out_of_the_tree_are_not_followed(
    load: Load, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "stolen.py").write_text('import os\nA = os.environ["STOLEN"]')
    folder = tmp_path / "src" / "app"
    folder.mkdir(parents=True)
    (folder / "link.py").symlink_to(outside / "stolen.py")
    (folder / "folder").symlink_to(outside)
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere.py").symlink_to(folder / "missing.py")
    (tmp_path / ".env.example").symlink_to(outside / "stolen.py")
    facts = load('import os\nA = os.environ["A"]')
    assert named(facts) == {"A": None}
    assert facts.files == ["src/app/__init__.py", "src/app/main.py"]
    assert {one.place.file for one in facts.unchecked} == {
        "src/app/link.py", "src/app/folder", "src/app/nowhere.py", ".env.example"}


@pytest.mark.parametrize("folder", [".venv", "node_modules", "tests", "__pycache__", "site-packages"])
def test_what_is_not_the_app_is_left_out(load: Load, tmp_path: Path, folder: str) -> None:
    (tmp_path / "src" / folder / "x").mkdir(parents=True)
    (tmp_path / "src" / folder / "x" / "y.py").write_text('import os\nA = os.environ["NOT"]')
    assert not load("A = 1").reads


@pytest.mark.parametrize("text", [
    "x = " + "(" * 500 + ")" * 500,
    "x = " + "[" * 90 + "]" * 90,
    "x = " + "-" * 3000 + "1",
    "x = " + "+".join(["'a'"] * 20_000),
    "x = " + "not " * 900 + "1",
    "\n".join(f"{' ' * n}if x:" for n in range(95)) + "\n" + " " * 95 + "pass",
    "x" + ".a" * 900,
    "f" + "()" * 900,
    "x = 'a' * 10**9\ny = x * 10**9",
    "x = 1 << 10**9",
    "x = '%1000000000d' % 1",
    "x = f'{1:1000000000}'",
    "x = '{:>1000000000}'.format(1)",
    "x = 'a' * 9000\n" + "x = x.replace('a', x)\n" * 20,
    "x = [0] * 10**9",
    "x = list(range(10**12))",
    "x = ['a']\n" + "x = x + x\n" * 60,
    "x = '1'\n" + "x = x + x\n" * 60,
    "def f(): return f() + f()\nx = f()",
    "f = lambda x: x(x)\nf(f)",
    "class A(A): pass\nclass B:\n    b = B()",
    "from app.main import x\nfrom . import main\nfrom .... import y\nfrom .main import *",
    "import app.main as m\nm.m.m.m.x",
    "while True:\n    while True:\n        while True: pass",
    "x = [[[a for a in range(999)] for b in range(999)] for c in range(999)]",
    "def f(*a, **k): return f(*a, *a, **k)\nf(1, 2)",
    "\n".join(f"def f{n}(): return f{n + 1}() + f{n + 1}()" for n in range(60)) + "\ndef f60(): return os.environ['X']",
    "x = 9" + "9" * 5000,
    "\ufeffx = 1",
    "x = '\\N{DIGIT ONE}'; y = '\\d'",
    "match x:\n    case {'a': [1, *b], **c} | A(d=e): pass",
    "x: int\ndel x\nglobal y\nnonlocal z",
    "def f():\n    global x\n    del x\n    x += 1\n    return (yield)",
    "async def f():\n    async for a in b:\n        yield [c async for c in d]\n    await e",
    "try: pass\nexcept* ValueError: pass",
    "type = print = open = str = 1\nint(str)",
    "a, *b, (c, d) = *range(3), (4, 5)\n[e, f] = 1, 2, 3",
    "x = {**1, **{}, 'a': 1, [1]: 2}\nx[x] = x",
    "import os\nos.environ = {}\nos.environ['A'] = 'b'\ndel os.environ['A']",
    "@a\n@b.c(d)\n@e\nclass F(G, metaclass=H, **i): j: K = 1",
    "print(*a, **b)\nf(**{1: 2})",
    "x = super()\nclass A:\n    def f(self): return super().f()",
    "lambda: (yield)",
    "x = 1 if y else 2 if z else 3\nx = a < b < c in d is not e",
])
def test_odd_sources_end_soon_and_well(load: Load, text: str) -> None:
    start = time.process_time()
    facts = load(odd_py=text, main_py='import os\nA = os.environ["A"]')
    assert time.process_time() - start < ENDLESS
    assert ("A", None) in named(facts).items()


@pytest.mark.parametrize("text", [
    "A=" + " " * 300_000 + "x", "A=x" + " " * 300_000 + "y # optional", "A=0123456789\n" + "A=$A$A$A$A\n" * 500,
    "B=" + "x" * 9_000 + "\nA=" + "$B" * 100_000, 'A="' + "x\n" * 50_000, "# " + "required " * 50_000, "=" * 500_000,
    "A='" * 100_000, "A=${" * 100_000, "\n" * 200_000, "#" * 500_000,
], ids=range(11))
def test_odd_examples_end_soon(tmp_path: Path, text: str) -> None:
    start = time.process_time()
    example(tmp_path, text)
    assert time.process_time() - start < ENDLESS


@pytest.mark.parametrize("line", [
    "x = {" + "a:a," * 20_000 + "} or environ", "environ " + "a: " * 60_000, "x = '" + " " * 300_000 + "environ'",
    "getenv = 1; " + "a = environ; " * 20_000, "x = [" + "'/'," * 60_000 + "]", "# environ " + "port" * 60_000,
    "x = {" + ",".join(f"'{n}': {n}" for n in range(20_000)) + "}",
], ids=range(7))
def test_odd_lines_end_soon(load: Load, line: str) -> None:
    start = time.process_time()
    load("import os\nA = os.environ['A']\n" + line)
    assert time.process_time() - start < ENDLESS


def test_work_grows_with_the_source_and_no_faster(tmp_path: Path) -> None:
    text = "".join(f"""
def dir_{n}(name="d"):
    value = os.environ.get("DIR_{n}")
    if not value:
        value = dir_{n - 1 if n else 0}() if {n} else Path("/opt")
    return Path(value) / name
""" for n in range(10))
    work = []
    for count in (5, 20):
        for number in range(count):
            file = tmp_path / str(count) / "src" / f"m{number}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("import os\nfrom pathlib import Path\n" + text)
        root = tmp_path / str(count)
        work.append(calls(functools.partial(load_app, root)))
        assert len(load_app(root).files) == count
    assert work[1] < work[0] * 4 * 1.2


def test_nothing_of_the_source_is_run(load: Load, tmp_path: Path) -> None:
    load(f"import os\nopen({str(tmp_path / 'ran')!r}, 'w')\nos.mkdir({str(tmp_path / 'made')!r})\n"
         "os.kill(os.getpid(), 9)")
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(("sources", "message"), [
    (("../**/*.py",), "leads out"), (("/etc/*.py",), "leads out"), (("",), "leads out"),
    (("lib/*.py",), "No file matches"),
])
def test_patterns_that_cannot_be(load: Load, tmp_path: Path, sources: tuple[str, ...], message: str) -> None:
    load("A = 1")
    with pytest.raises(ContractError, match=message) as raised:
        load_app(tmp_path, sources)
    assert raised.value.remedy


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="is no folder"):
        load_app(tmp_path / "missing")


def test_other_layouts(tmp_path: Path) -> None:
    for name in ("main.py", "lib/a/b/c.py", "lib/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'import os\nA = os.environ["{Path(name).stem.upper()}"]')
    assert load_app(tmp_path, ("*.py", "lib/**/*.py")).files == ["lib/a/b/c.py", "lib/c.py", "main.py"]
    assert load_app(tmp_path, ("lib/*.py",)).files == ["lib/c.py"]
    assert load_app(tmp_path, ("lib/*/b/c.py",)).files == ["lib/a/b/c.py"]


def test_facts_have_places_that_exist(observer: AppFacts) -> None:
    places = itertools.chain((one.place for one in observer.reads), (one.place for one in observer.paths.values()),
                             (one.place for one in observer.ports), (one.place for one in observer.routes))
    for place in places:
        lines = (OBSERVER / place.file).read_text(encoding="utf-8").split("\n")
        assert 1 <= place.line <= len(lines)
    assert all(isinstance(one, Unchecked) and not one.place.file.startswith("/") for one in observer.unchecked)
