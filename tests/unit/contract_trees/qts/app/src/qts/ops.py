"""GET /livez and GET /readyz, for the kubelet."""

from __future__ import annotations

from aiohttp import web

from qts import places
from qts.settings import settings

routes = web.RouteTableDef()


@routes.get("/livez")
async def alive(_: web.Request) -> web.Response:
    return web.json_response({"instance": settings().instance})


@routes.get("/readyz")
async def able_to_trade(_: web.Request) -> web.Response:
    missing = [str(folder) for folder in (places.ledger(), places.audit()) if not folder.is_dir()]
    return web.json_response({"missing": missing}, status=503 if missing else 200)


def serve() -> None:
    """Answer until SIGTERM comes."""
    app = web.Application()
    app.add_routes(routes)
    web.run_app(app, port=settings().ops_port)
