"""Ports that the source starts a server with, and routes that it answers to GET (seed 000 B.2 item 3)."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field

from .app_known import Call
from .app_state import State
from .app_syntax import name_of
from .app_values import (
    ATOMS,
    NONE,
    Class,
    External,
    Failure,
    Items,
    Method,
    Module,
    Outside,
    Scope,
    Unknown,
    Value,
)
from .classes import dataclass
from .facts import Literal
from .model import Place

KEYWORD_ONLY = frozenset({"run", "run_app", "serve", "Config", "run_simple", "make_server", "TCPSite", "create_server",
                          "start_server", "Granian"})
"""Functions whose argument `port` is the port that they listen on."""
POSITIONS: Mapping[str, int] = {"run_simple": 1, "make_server": 1, "TCPSite": 2, "create_server": 2, "start_server": 2}
ADDRESSES = frozenset({"bind", "HTTPServer", "ThreadingHTTPServer", "TCPServer", "ThreadingTCPServer", "WSGIServer",
                       "create_server", "StreamServer"})
"""Functions whose first argument is (host, port)."""
OPTIONS = frozenset({"--port", "--http-port", "--listen-port", "--server-port", "--service-port"})
UVICORN_PORT = 8000
"""What uvicorn listens on when nobody says otherwise (its own documented default)."""

DECORATORS = frozenset({"get", "route", "api_route"})
ROUTES = frozenset({"Route", "APIRoute", "add_api_route", "add_route", "add_url_rule", "add_get", "add_view", "Rule"})
PREFIXED = frozenset({"APIRouter", "Blueprint"})
INCLUDES: Mapping[str, tuple[int, str, int, str]] = {
    # Where the inner router and its prefix are in the call.
    "include_router": (0, "router", -1, "prefix"), "register_blueprint": (0, "blueprint", -1, "url_prefix"),
    "mount": (1, "app", 0, "path"), "Mount": (1, "app", 0, "path"), "add_subapp": (1, "subapp", 0, "prefix"),
}
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "*"})


@dataclass(slots=True, eq=False, repr=False)
class Found:
    """A route as it is written, before the prefixes of what it is mounted in."""

    path: str
    place: Place
    router: Outside | None = None
    prefixes: list[str] = field(default_factory=list)


class Servers:
    """Watches the calls of an interpreter."""

    def __init__(self, run: State) -> None:
        self.run = run
        self.found_ports: dict[tuple[str, Place], bool] = {}
        self.found_routes: list[Found] = []
        self.mounts: dict[int, list[tuple[Outside | None, str]]] = {}
        self.mounted: list[Outside] = []  # Kept, so that no other object gets the number of one.

    def observe(
        self, name: str, node: ast.Call, call: Call, function: Value, scope: Scope, decorator: bool
    ) -> Value | None:
        """Take note of a call; a value if the call gives one that the interpreter does not know."""
        last = name.rpartition(".")[2]
        if isinstance(function.data, Class):
            last = next((base.rpartition(".")[2] for base in function.data.outside
                         if base.rpartition(".")[2] in ADDRESSES), "")
        if last in KEYWORD_ONLY or last in ADDRESSES:
            self.server(name, last, call, function)
        elif last in {"add_argument", "option"} and any(
                isinstance(one.data, str) and one.data in OPTIONS for one in call.arguments):
            self.port(call.keywords.get("default", NONE), call)
        if last in DECORATORS and (decorator or name.startswith("aiohttp.web.")):
            self.route(call, function)
        elif last in ROUTES:
            found = self.route(call, function)
            return Value(Outside(name, {}, {"route": [found]} if found else {}))
        elif last in INCLUDES:
            return self.include(name, last, call, function)
        elif name == "django.urls.path":
            self.route(call, function, "/")
        elif name == "tornado.web.Application" and call.arguments:
            for one in self.run.each(call.arguments[0], call.place) or ():
                parts = self.run.each(one, call.place) if isinstance(one.data, Items) else None
                if parts and isinstance(parts[0].data, str):
                    self.route(Call([parts[0]], {}, parts[0].via or call.place), function)
        return None

    # --- ports ----------------------------------------------------------------------------------

    def server(self, name: str, last: str, call: Call, function: Value) -> None:
        if last == "Config" and isinstance(function.data, External) and not name.startswith(("uvicorn.", "hypercorn.")):
            return
        if "port" in call.keywords:
            self.port(call.keywords["port"], call)
            return
        first = call.given(0)
        if last in ADDRESSES and first is not None and isinstance(first.data, Items):
            parts = self.run.each(first, call.place)
            if parts and len(parts) > 1 and (last != "bind" or len(call.arguments) == 1):
                self.port(parts[1], call)
            elif parts is None and last != "bind":
                self.run.unresolved(call, first, "the address that a server listens on is not known", "port")
            return
        given = call.given(POSITIONS[last]) if last in POSITIONS else None
        if given is not None:
            self.port(given, call)
        elif name == "uvicorn.run" and not set(call.keywords) & {"uds", "fd"}:
            if call.complete:
                self.port(Value(UVICORN_PORT), call)
            else:
                self.run.unresolved(call, first or NONE, "the port that the server listens on is not known", "port")

    def port(self, value: Value, call: Call) -> None:
        """Note the port of a server; 0 (any free one) and None are none."""
        data = value.data
        if isinstance(data, float) and data.is_integer():
            data = int(data)
        if data is None or (isinstance(data, (int, str)) and str(data) in {"0", ""}):
            return
        if isinstance(data, (int, str)) and not isinstance(data, bool) and str(data).isdigit():
            key = (str(data), value.via or call.place)
            # What is done only if a variable is set says nothing of what is done when none is.
            self.found_ports[key] = self.found_ports.get(key, False) or not self.run.other_way
            if not value.loose:
                self.run.close(call, "port")
            return
        if isinstance(data, Failure):
            named = ", ".join(value.deps)
            reason = f"there is no port unless {named} is set" if named else "the port fails to be computed"
        elif isinstance(data, Unknown):
            reason = f"the port that a server listens on {data.reason}"
        else:
            reason = "the port that a server listens on is no number"
        if not (isinstance(data, Unknown) and self.run.other_way):
            self.run.unresolved(call, value, reason, "port")

    def ports(self) -> list[Literal]:
        """Every port, in the order of places."""
        certain = [key for key, sure in self.found_ports.items() if sure] or list(self.found_ports)
        return [Literal(number, place) for number, place in sorted(certain, key=lambda key: (key[1], key[0]))]

    # --- routes ---------------------------------------------------------------------------------

    def route(self, call: Call, function: Value, start: str = "") -> Found | None:
        """Note a route, if it answers to GET."""
        arguments = list(call.arguments)
        if arguments and isinstance(arguments[0].data, str) and arguments[0].data.upper() in METHODS:
            if arguments[0].data.upper() not in {"GET", "*"}:
                return None
            arguments.pop(0)
        named = next((call.keywords[name] for name in ("path", "rule", "uri") if name in call.keywords), None)
        path = named or (arguments[0] if arguments else None)
        methods = call.keywords.get("methods") or call.keywords.get("method")
        if path is None or (methods is not None and not self.takes_get(methods, call.place)):
            return None
        if not isinstance(path.data, str):
            if isinstance(path.data, (Unknown, Failure)):
                self.run.unresolved(call, path, "the path of a route is not known", "route")
            return None
        if not path.data.startswith("/") and not start:
            return None
        router = function.data.owner.data if isinstance(function.data, Method) else None
        found = Found(start + path.data, path.via or call.place, router if isinstance(router, Outside) else None)
        self.found_routes.append(found)
        return found

    def takes_get(self, methods: Value, place: Place) -> bool:
        values = [methods] if isinstance(methods.data, str) else self.run.each(methods, place)
        return values is None or any(not isinstance(one.data, str) or one.data.upper() in {"GET", "*"}
                                     for one in values)

    def include(self, name: str, last: str, call: Call, function: Value) -> Value | None:
        """Note that a router is in another one, under a prefix."""
        index, keyword, prefix_index, prefix_keyword = INCLUDES[last]
        inner = call.given(index, keyword)
        prefix = call.given(prefix_index, prefix_keyword) or Value("")
        text = prefix.data if isinstance(prefix.data, str) else ""
        if prefix.data is not None and not isinstance(prefix.data, str):
            self.run.unresolved(call, prefix, "the prefix of routes is not known", "route")
        outer = function.data.owner.data if isinstance(function.data, Method) else None
        if inner is not None and isinstance(inner.data, Outside):
            self.mounted.append(inner.data)
            self.mounts.setdefault(id(inner.data), []).append((outer if isinstance(outer, Outside) else None, text))
        routes = call.keywords.get("routes")
        nested = [route for one in (self.run.each(routes, call.place) if routes else None) or ()
                  if isinstance(one.data, Outside) for route in one.data.notes.get("route", [])]
        for route in nested:
            if isinstance(route, Found):
                route.prefixes.insert(0, text)
        return Value(Outside(name, {}, {"route": nested})) if last == "Mount" else None

    def routes(self) -> list[Literal]:
        """Every route with the prefixes of what it is in, in the order of places."""
        found = {(prefix.rstrip("/") + path if path != "/" or not prefix else prefix, one.place)
                 for one in self.found_routes for path in ["".join([*one.prefixes, one.path])]
                 for prefix in self.prefixes(one.router, 0)}
        return [Literal(path, place) for path, place in sorted(found, key=lambda pair: (pair[1], pair[0]))]

    def prefixes(self, router: Outside | None, depth: int) -> Iterator[str]:
        """All prefixes under which a router is reached."""
        if router is None or depth > 10:
            yield ""
            return
        own = router.keywords.get("prefix") or router.keywords.get("url_prefix")
        text = own.data if own and isinstance(own.data, str) else ""
        mounts = self.mounts.get(id(router))
        if not mounts:
            yield text
            return
        for outer, prefix in mounts[:20]:
            for start in self.prefixes(outer, depth + 1):
                # A blueprint's prefix is replaced, a router's is added to.
                replaced = prefix and router.name.endswith("Blueprint")
                yield start + prefix + ("" if replaced else text)


def handler_routes(module: Module, run: State) -> Iterator[Literal]:
    """Paths that handlers of `http.server` compare the request's with (`if self.path == "/health"`)."""
    for kind in ast.walk(module.tree):
        if not isinstance(kind, ast.ClassDef):
            continue
        methods = [node for node in kind.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        if not any(method.name == "do_GET" for method in methods):
            continue
        for method in methods:
            if method.name == "do_GET" or not method.name.startswith("do_"):
                yield from compared_paths(method, module, run)


def compared_paths(method: ast.AST, module: Module, run: State) -> Iterator[Literal]:
    scope = Scope(module, {})
    for node in ast.walk(method):
        wanted: Iterable[ast.expr] = ()
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.Eq, ast.In)):
            sides = [node.left, *node.comparators]
            if any(is_path(side) for side in sides):
                wanted = [side for side in sides if not is_path(side)]
        elif isinstance(node, ast.Match) and is_path(node.subject):
            wanted = [part.value for case in node.cases for part in ast.walk(case.pattern)
                      if isinstance(part, ast.MatchValue)]
        elif isinstance(node, ast.Call) and name_of(node.func) in {"startswith", "get"}:
            owner = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            if name_of(node.func) == "startswith" and is_path(owner):
                wanted = node.args[:1]
            elif name_of(node.func) == "get" and node.args and is_path(node.args[0]):
                wanted = [owner]
        elif isinstance(node, ast.Subscript) and is_path(node.slice):
            wanted = [node.value]
        for side in wanted:
            value = run.value(side, scope)
            parts = [value] if isinstance(value.data, ATOMS) else run.each(value, Place(module.file, side.lineno))
            for one in parts or ():
                if isinstance(one.data, str) and one.data.startswith("/"):
                    yield Literal(one.data, one.via or Place(module.file, side.lineno))


def is_path(node: ast.expr) -> bool:
    """Whether an expression is the path of a request, by its name."""
    if isinstance(node, ast.Subscript):
        node = node.value
    return not isinstance(node, ast.Constant) and name_of(node).lower() in {"path", "route", "url", "request_path",
                                                                            "url_path", "endpoint"}
