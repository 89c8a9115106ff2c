"""Downloads against a web server of its own that misbehaves on demand."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modules import four_times, run

CONTENT = b"binary" * 300_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        if self.path == "/missing":
            self.send_error(404)
            return
        body = CONTENT[:-5] + b"other" if self.path == "/wrong" else CONTENT
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:100_000] if self.path == "/short" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def pages() -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.asked = 0  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def declared(pages: ThreadingHTTPServer, tmp_path: Path, *names: str) -> dict[str, Any]:
    return {"staging": str(tmp_path / "staging"), "files": [
        {"url": f"http://127.0.0.1:{pages.server_port}/{name}", "sha256": SHA256,
         "path": str(tmp_path / "places" / name), "mode": "0755"} for name in names]}


def test_fetched_then_installed_then_never_asked_for_again(pages: Any, tmp_path: Path) -> None:  # noqa: ANN401
    files = declared(pages, tmp_path, "right")
    fetched = four_times("pinned_files", phase="fetch", **files)
    place = tmp_path / "places" / "right"
    assert fetched[1]["pending"] == [str(place)] and not place.exists()
    installed = four_times("pinned_files", phase="install", **files)
    assert installed[1]["changes"] == [f"{place}: installed"]
    assert place.read_bytes() == CONTENT and place.stat().st_mode & 0o7777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["places"]
    asked = pages.asked
    assert run("pinned_files", phase="fetch", **files)["pending"] == []
    assert pages.asked == asked == 1


def test_a_hand_edit_of_what_is_in_place_is_mended(pages: Any, tmp_path: Path) -> None:  # noqa: ANN401
    files = declared(pages, tmp_path, "right")
    for phase in ("fetch", "install"):
        run("pinned_files", phase=phase, **files)
    place = tmp_path / "places" / "right"
    place.write_bytes(b"damaged")
    assert run("pinned_files", phase="fetch", **files)["pending"] == [str(place)]
    assert run("pinned_files", phase="install", **files)["changes"] == [f"{place}: installed"]
    assert place.read_bytes() == CONTENT


@pytest.mark.parametrize(("name", "words"), [
    ("short", "was cut off after 100000 of 1800000 bytes"),
    ("wrong", f"but {SHA256} is pinned: nothing of it was kept"),
    ("missing", "answered 404"),
])
def test_a_bad_download_leaves_nothing(pages: Any, tmp_path: Path, name: str, words: str) -> None:  # noqa: ANN401
    result = run("pinned_files", phase="fetch", **declared(pages, tmp_path, "right", name))
    assert result["failed"] and words in result["msg"] and result["remedy"]
    assert list(tmp_path.iterdir()) == []


def test_nobody_answers(tmp_path: Path) -> None:
    result = run("pinned_files", phase="fetch", staging=str(tmp_path / "staging"), files=[
        {"url": "http://127.0.0.1:9/k3s", "sha256": SHA256, "path": str(tmp_path / "k3s")}])
    assert "could not be downloaded" in result["msg"] and "refused" in result["msg"]
    assert list(tmp_path.iterdir()) == []


def test_a_pin_that_is_none(tmp_path: Path) -> None:
    result = run("pinned_files", phase="fetch", files=[{"url": "http://x/k3s", "sha256": "abc", "path": "/nowhere"}])
    assert "not 64 hexadecimal digits" in result["msg"] and "k3s_checksums" in result["remedy"]
