"""The HTTP side: probes, metrics, status, and the records' entrance (seed 001 3-1, seed 002 6)."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import observer
from observer import folders, ingest
from observer.collector import Collector
from observer.config import Settings
from observer.kis_client import Kis
from observer.logging_setup import VolumeFileHandler
from observer.metrics import Metrics
from observer.realtime_writer import Database, DatabaseUnavailableError

MAXIMUM_BODY = 8 * 1024 * 1024
SUMMARY = re.compile(r"^/records/[^/]+/summary$")
PLAIN = ("/health", "/ready", "/metrics", "/status", "/records")
METHODS = ("GET", "HEAD", "POST")


@dataclass
class App:
    """The parts that the endpoints look at."""

    settings: Settings
    metrics: Metrics
    database: Database
    ingest: ingest.Ingest
    kis: Kis
    collector: Collector
    log_files: list[VolumeFileHandler] = field(default_factory=list)
    stopping: bool = False
    started: float = field(default_factory=time.monotonic)

    def uptime(self) -> float:
        """Return seconds since the start."""
        return round(time.monotonic() - self.started, 2)


async def not_ready(app: App) -> list[str]:
    """Return the reasons why no traffic should come here now."""
    reasons = []
    if app.settings.build_variant == "never-ready":
        reasons.append("build variant never-ready")
    if app.stopping:
        reasons.append("shutting down")
    found, database = await asyncio.gather(asyncio.to_thread(folders.problems), app.database.ping())
    reasons += found.values()
    if database is not None:
        reasons.append(f"database: {database}")
    return reasons


def degradations(app: App) -> list[dict[str, object]]:
    """Return what does not work although the contract holds: failures of others (seed 001, verdict)."""
    if app.kis.state in ("ok", "starting"):
        return []
    return [
        {"component": "kis", "class": "external", "code": app.kis.code, "message": app.kis.message},
        {"component": "collector", "class": "external", "code": None, "message": app.collector.reason},
    ]


def build(app: App) -> ASGIApp:
    """Return the ASGI application."""

    async def health(_request: Request) -> Response:
        # The process lives and answers: nothing else may fail this (seed 002 6.1).
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
        return JSONResponse({"status": "healthy", "timestamp": now, "uptime_seconds": app.uptime()})

    async def ready(_request: Request) -> Response:
        reasons = await not_ready(app)
        app.metrics.ready.set(not reasons)
        return JSONResponse(
            {
                "status": "not ready" if reasons else "ready",
                "reasons": reasons,
                "database": app.database.connected,
                "folders": {folder.name: folders.problem(folder) is None for folder in folders.needed()},
            },
            503 if reasons else 200,
        )

    async def metrics(_request: Request) -> Response:
        app.metrics.log_failures.set(sum(handler.failures for handler in app.log_files))
        return Response(app.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    async def status(_request: Request) -> Response:
        external = degradations(app)
        reasons = await not_ready(app)
        overall = "stopping" if app.stopping else "degraded" if external or reasons else "ok"
        settings = app.settings
        return JSONResponse(
            {
                "status": overall,
                "degraded": external,
                "not_ready": reasons,
                "version": observer.__version__,
                "image_tag": settings.image_tag,
                "build_variant": settings.build_variant,
                "python": platform.python_version(),
                "machine": platform.machine(),
                "pod": settings.pod_name,
                "namespace": settings.pod_namespace,
                "uid": os.getuid(),
                "gid": os.getgid(),
                "groups": sorted(os.getgroups()),
                "time_zone": settings.time_zone.key,
                "standalone": settings.standalone,
                "unbuffered": settings.unbuffered,
                "uptime_seconds": app.uptime(),
                "collector": app.collector.status(),
                "kis": app.kis.status(),
                "database": app.database.status(),
                "records": {
                    "acknowledged": app.ingest.acknowledged,
                    "refused": app.ingest.refused,
                    "waiting": app.ingest.waiting,
                },
                "folders": {folder.name: str(folder.path) for folder in folders.needed()},
            }
        )

    async def records(request: Request) -> Response:
        body = bytearray()
        try:
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAXIMUM_BODY:
                    return JSONResponse({"error": f"at most {MAXIMUM_BODY} bytes"}, 413)
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            taken = ingest.parse(bytes(body))
            await app.ingest.submit(taken)
        except ingest.BadRecordError as error:
            return JSONResponse({"error": str(error)}, 400)
        except ingest.ConflictError as error:
            return JSONResponse({"error": str(error), "conflicts": error.seqs}, 409)
        except ingest.IngestUnavailableError as error:
            return JSONResponse({"error": str(error), "reason": error.reason}, 503, {"Retry-After": "1"})
        return JSONResponse({"writer": taken[0].writer, "acknowledged": [record.seq for record in taken]})

    async def summary(request: Request) -> Response:
        writer = request.path_params["writer"]
        if not ingest.is_writer(writer):
            return JSONResponse({"error": "not a writer's name"}, 400)
        answer: dict[str, object] = {"writer": writer}
        code = 200
        try:
            answer["jsonl"] = await asyncio.to_thread(ingest.summarise_file, writer)
        except OSError as error:
            answer["jsonl"], code = {"error": str(error)}, 503
        try:
            answer["postgresql"] = await app.ingest.summarise_database(writer)
        except DatabaseUnavailableError as error:
            answer["postgresql"], code = {"error": str(error)}, 503
        return JSONResponse(answer, code)

    inner = Starlette(
        routes=[
            Route("/health", health),
            Route("/ready", ready),
            Route("/metrics", metrics),
            Route("/status", status),
            Route("/records", records, methods=["POST"]),
            Route("/records/{writer}/summary", summary),
        ]
    )
    return _measured(inner, app.metrics)


def _endpoint(path: str) -> str:
    """Return a label of few values: no label comes from the caller (seed 002 6.5)."""
    if path in PLAIN:
        return path
    return "/records/{writer}/summary" if SUMMARY.match(path) else "other"


def _measured(inner: ASGIApp, metrics: Metrics) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        started = time.perf_counter()
        code = 500
        method = scope["method"] if scope["method"] in METHODS else "other"
        endpoint = _endpoint(scope["path"])

        async def watch(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await inner(scope, receive, watch)
        finally:
            metrics.requests.labels(method, endpoint, str(code)).inc()
            metrics.latency.labels(method, endpoint).observe(time.perf_counter() - started)

    return outer
