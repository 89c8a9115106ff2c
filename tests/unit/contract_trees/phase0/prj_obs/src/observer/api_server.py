"""GET /health and GET /ready."""

from __future__ import annotations

import os
import socket
import time

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from observer.realtime_writer import connection

STARTED = time.monotonic()
DEFAULT_PORT = 8000


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"status": "healthy", "uptime_seconds": time.monotonic() - STARTED})


async def ready(_: Request) -> JSONResponse:
    database = connection()
    try:
        socket.create_connection((database.host, database.port), timeout=2).close()
    except OSError as error:
        return JSONResponse({"status": "not ready", "reason": str(error)}, status_code=503)
    return JSONResponse({"status": "ready"})


app = Starlette(routes=[Route("/health", health), Route("/ready", ready)])


def serve() -> None:
    uvicorn.run(app, host="0.0.0.0", port=int(os.environ.get("SERVICE_PORT", DEFAULT_PORT)), log_config=None)
