"""Writes quotes to PostgreSQL."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass
class Connection:
    host: str
    port: int
    database: str
    user: str
    password: str


def connection() -> Connection:
    return Connection(
        host=os.environ.get("DB_HOST", "postgres"),
        port=int(os.environ.get("DB_PORT", "5432")),
        database=os.environ.get("DB_NAME", "observer"),
        user=os.environ.get("DB_USER", ""),
        password=os.environ.get("DB_PASSWORD", ""),
    )
