"""Starts the parts, waits for SIGTERM, and stops them in order (seed 002 6.2)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import time
from collections.abc import Generator
from typing import Any

import uvicorn

import observer
from observer import folders, logging_setup
from observer.api_server import App, build
from observer.collector import Collector
from observer.config import Settings
from observer.ingest import Ingest
from observer.kis_client import Kis
from observer.logging_setup import VolumeFileHandler
from observer.metrics import Metrics
from observer.realtime_writer import Database, RealtimeWriter, stop_task

log = logging.getLogger(__name__)
maintenance = logging.getLogger(logging_setup.MAINTENANCE)

# Seed 001 3-1 (KIS) and 1-2 (the Secret's four keys); DB_NAME has no default either.
REQUIRED = ("DB_NAME", "DB_USER", "DB_PASSWORD", "KIS_APP_KEY", "KIS_APP_SECRET")

# Together at most 10 s, within the grace period of 60 s less 5 s of preStop.
DRAIN_SECONDS = 4.0
COLLECTOR_SECONDS = 1.5
SERVER_SECONDS = 1


class Server(uvicorn.Server):
    """Uvicorn without its own signal handling: the order of the shutdown is ours."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals alone."""
        yield


def listen(port: int) -> socket.socket:
    """Return a listening socket. Raises OSError, so that a taken port is one clear error."""
    # The protocol is named because asyncio sets TCP_NODELAY only then: without it an answer waits 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("0.0.0.0", port))
        sock.listen(512)
    except OSError:
        sock.close()
        raise
    return sock


def assemble(settings: Settings, log_files: list[VolumeFileHandler]) -> App:
    """Connect the parts; nothing runs yet."""
    metrics = Metrics()
    metrics.build.labels(observer.__version__, settings.image_tag, settings.build_variant).set(1)
    database = Database(settings.database, metrics.database_up.set)
    kis = Kis(settings.kis, metrics.kis_up.set)
    collector = Collector(
        settings.collect_rate, settings.time_zone, kis, RealtimeWriter(database, metrics), metrics
    )
    return App(settings, metrics, database, Ingest(database, metrics), kis, collector, log_files)


def background(app: App) -> dict[str, asyncio.Task[None]]:
    """Start what runs beside the server."""
    tasks = {
        "database": asyncio.create_task(app.database.run()),
        "kis": asyncio.create_task(app.kis.run()),
        "ingest": asyncio.create_task(app.ingest.run()),
    }
    if not app.settings.standalone:
        app.collector.disable("OBSERVER_STANDALONE is 0")
    elif app.settings.collect_rate == 0:
        app.collector.disable("OBSERVER_COLLECT_RATE is 0")
    else:
        tasks["collector"] = asyncio.create_task(app.collector.run())
    return tasks


async def stop(app: App, tasks: dict[str, asyncio.Task[None]]) -> bool:
    """Finish what was taken, then close; True when nothing was left undone."""
    app.stopping = app.ingest.stopping = True
    drained = await app.ingest.drain(DRAIN_SECONDS)
    app.collector.stop()
    collector = tasks.pop("collector", None)
    if collector is not None:
        await asyncio.wait([collector], timeout=COLLECTOR_SECONDS)
        await stop_task(collector)
    return drained


async def run(settings: Settings, log_files: list[VolumeFileHandler]) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status."""
    app = assemble(settings, log_files)
    try:
        sock = listen(settings.service_port)
    except OSError as error:
        log.critical("cannot listen on port %s (SERVICE_PORT): %s", settings.service_port, error.strerror)
        return 1
    for reason in folders.problems().values():
        log.error("not ready: %s", reason)
    wanted = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, wanted.set)
    server = Server(
        uvicorn.Config(
            build(app),
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=SERVER_SECONDS,
        )
    )
    tasks = background(app)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    maintenance.info(
        "started",
        extra={
            "fields": {
                "version": observer.__version__,
                "image_tag": settings.image_tag,
                "build_variant": settings.build_variant,
                "port": settings.service_port,
            }
        },
    )
    waiting = asyncio.create_task(wanted.wait())
    watched: list[asyncio.Task[Any]] = [waiting, serving, *tasks.values()]
    await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
    broken = [task for task in watched[1:] if task.done()]
    for task in broken:
        log.critical("a part ended unexpectedly", exc_info=task.exception() if not task.cancelled() else None)
    started = time.monotonic()
    maintenance.info("shutdown started", extra={"fields": {"records_waiting": app.ingest.waiting}})
    clean = await stop(app, tasks)
    server.should_exit = True
    await asyncio.wait([serving], timeout=SERVER_SECONDS + 1)
    waiting.cancel()
    for task in tasks.values():
        await stop_task(task)
    app.ingest.close()
    maintenance.info(
        "shutdown complete" if clean else "shutdown incomplete: records were left unanswered",
        extra={
            "fields": {
                "seconds": round(time.monotonic() - started, 2),
                "acknowledged": app.ingest.acknowledged,
            }
        },
    )
    # Unanswered records were never acknowledged: nothing is lost, their sender retries.
    return 1 if broken else 0
