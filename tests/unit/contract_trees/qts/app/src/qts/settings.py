"""Settings from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

OPS_PORT = 9400


@dataclass(frozen=True)
class Broker:
    """Keys of the broker; it has no default for any of them."""

    key: str = field(default_factory=lambda: os.environ["BROKER_APP_KEY"])
    secret: str = field(default_factory=lambda: os.environ["BROKER_APP_SECRET"], repr=False)
    account: str = field(default_factory=lambda: os.environ["BROKER_ACCOUNT"])


@dataclass(frozen=True)
class Settings:
    """How this instance trades."""

    mode: str
    store_url: str
    store_password: str
    order_limit: int
    ops_port: int
    instance: str
    release: str


def settings() -> Settings:
    """The settings of this process; raises ValueError for a limit that is no number."""
    return Settings(
        mode=os.getenv("QTS_MODE", "paper"),
        store_url=os.getenv("QTS_STORE_URL", default="redis://qts-store:6379/0"),
        store_password=os.environ["STORE_PASSWORD"],
        order_limit=int(os.getenv("QTS_ORDER_LIMIT_KRW", "1000000")),
        ops_port=int(os.getenv("QTS_OPS_PORT") or OPS_PORT),
        instance=os.getenv("QTS_INSTANCE", "qts-trader-0"),
        release=os.getenv("QTS_RELEASE", "unknown"),
    )
