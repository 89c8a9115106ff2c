"""`k3s certificate check`: the certificates of a node and when they end (pkg/cli/cert/cert.go)."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass

from . import certs
from .settings import Paths

WARN_DAYS = 120


@dataclass(frozen=True)
class Row:
    """One certificate: its file, subject, OK, WARNING or EXPIRED, end, and the days left."""

    file: str
    subject: str
    status: str
    expires: str
    residual: str


def rows(paths: Paths, now: float | None = None) -> list[Row]:
    """All certificates below server/tls and agent, in the order of their paths."""
    moment = time.time() if now is None else now
    found = []
    for directory in (paths.server("tls"), paths.agent()):
        try:
            names = sorted(os.listdir(directory))
        except FileNotFoundError:
            continue
        for name in names:
            if not name.endswith(".crt") or name.endswith(".nochain.crt"):
                continue
            path = os.path.join(directory, name)
            subject, end = certs.expiry(path)
            days = int((end - moment) // 86400)
            status = "EXPIRED" if end <= moment else "WARNING" if days < WARN_DAYS else "OK"
            found.append(
                Row(
                    path,
                    subject,
                    status,
                    time.strftime("%b %d, %Y %H:%M UTC", time.gmtime(end)),
                    f"{days} days",
                )
            )
    return found


def render(found: list[Row], output: str) -> str:
    """The rows as a table, as JSON, or as lines."""
    if output == "json":
        return json.dumps([asdict(row) for row in found], indent=2) + "\n"
    if output == "table":
        table = [
            ("FILENAME", "SUBJECT", "EXPIRES", "RESIDUAL", "STATUS"),
            ("--------", "-------", "-------", "--------", "------"),
        ]
        table += [
            (os.path.basename(row.file), row.subject, row.expires, row.residual, row.status) for row in found
        ]
        widths = [max(len(line[index]) for line in table) + 2 for index in range(5)]
        return (
            "\n".join(
                "".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
                for line in table
            )
            + "\n"
        )
    return "".join(
        f"{row.file}: certificate {row.subject} is {row.status.lower()}, expires at {row.expires}\n"
        for row in found
    )
