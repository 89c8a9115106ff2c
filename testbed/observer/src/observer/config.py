"""Settings from the environment. All mistakes are named at once; no value of a secret is ever shown."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from zoneinfo import ZoneInfo

import observer
from observer import folders, logging_setup
from observer.kis_client import KisSettings, kis_settings
from observer.realtime_writer import DatabaseSettings, database_settings

VARIANTS = ("normal", "crash", "never-ready")
MAXIMUM_RATE = 1000.0


class ConfigError(Exception):
    """The environment cannot work; the message names every variable and the remedy."""


@dataclass(frozen=True)
class Settings:
    """What the app runs with."""

    service_port: int
    log_level: str
    log_format: str
    time_zone: ZoneInfo
    unbuffered: bool
    standalone: bool
    collect_rate: float
    pod_name: str
    pod_namespace: str
    image_tag: str
    build_variant: str
    database: DatabaseSettings
    kis: KisSettings
    secrets: tuple[str, ...] = field(repr=False)


def _number(problems: list[str], name: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        problems.append(f"{name} must be a number from {low:g} to {high:g}, not {text!r}")
        return low
    return value


def _choice(problems: list[str], name: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        problems.append(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def _zone(problems: list[str], name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # ZoneInfoNotFoundError is a KeyError
        problems.append(f"TZ must be a time zone such as Asia/Seoul, not {name!r}")
        return ZoneInfo("UTC")


def load(required: tuple[str, ...]) -> Settings:
    """Read the environment. Raises ConfigError that lists missing variables of `required` and bad values."""
    problems: list[str] = []
    missing = [name for name in required if not os.environ.get(name)]
    if missing:
        problems.append(f"required environment variables are missing: {', '.join(missing)}")
    problems += [
        f"the path of {folder.name} must be absolute, not {str(folder.path)!r}"
        for folder in folders.needed()
        if not folder.path.is_absolute()
    ]
    port = _number(problems, "SERVICE_PORT", os.environ.get("SERVICE_PORT", "8000"), 1, 65535)
    rate = _number(
        problems, "OBSERVER_COLLECT_RATE", os.environ.get("OBSERVER_COLLECT_RATE", "1"), 0, MAXIMUM_RATE
    )
    level = os.environ.get("LOG_LEVEL", "INFO").upper()
    style = os.environ.get("LOG_FORMAT", "json").lower()
    variant = os.environ.get("OBSERVER_BUILD_VARIANT", "normal")
    database = database_settings()
    database_port = _number(problems, "DB_PORT", database.port_text, 1, 65535)
    zone = _zone(problems, os.environ.get("TZ", "Asia/Seoul"))
    _choice(problems, "LOG_LEVEL", level, logging_setup.LEVELS)
    _choice(problems, "LOG_FORMAT", style, logging_setup.FORMATS)
    _choice(problems, "OBSERVER_BUILD_VARIANT", variant, VARIANTS)
    kis = kis_settings()
    if kis.api_base and not kis.api_base.startswith(("http://", "https://")):
        problems.append("KIS_API_BASE must start with http:// or https://")
    if problems:
        raise ConfigError("; ".join(problems))
    return Settings(
        service_port=int(port),
        log_level=level,
        log_format=style,
        time_zone=zone,
        unbuffered=bool(os.environ.get("PYTHONUNBUFFERED")),
        standalone=observer.standalone(),
        collect_rate=rate,
        pod_name=os.environ.get("POD_NAME", ""),
        pod_namespace=os.environ.get("POD_NAMESPACE", ""),
        image_tag=os.environ.get("OBSERVER_IMAGE_TAG", "unknown"),
        build_variant=variant,
        database=replace(database, port=int(database_port)),
        kis=kis,
        secrets=tuple(filter(None, (database.password, kis.app_key, kis.app_secret, kis.hts_id))),
    )
