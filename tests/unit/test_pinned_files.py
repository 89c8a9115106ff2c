"""Downloads against a web server of its own that misbehaves on demand."""

from __future__ import annotations

import bz2
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from modules import four_times, load, run

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


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to somebody else")
def test_mode_and_owner_are_mended_without_a_download(pages: Any, tmp_path: Path) -> None:  # noqa: ANN401
    files = declared(pages, tmp_path, "right")
    for phase in ("fetch", "install"):
        run("pinned_files", phase=phase, **files)
    place = tmp_path / "places" / "right"
    place.chmod(0o600)
    os.chown(place, 1000, 0)
    before = place.stat().st_mtime_ns
    fetched = run("pinned_files", phase="fetch", **files)
    assert (fetched["changes"], fetched["pending"], fetched["wrong"]) == ([], [], [str(place)])
    mended = four_times("pinned_files", phase="install", **files)
    assert mended[1]["changes"] == [f"{place}: mode 0600 to 0755", f"{place}: owner 1000:0 to 0:0"]
    found = place.stat()
    assert (found.st_mode & 0o7777, found.st_uid, found.st_gid) == (0o755, 0, 0)
    assert run("pinned_files", phase="fetch", **files)["wrong"] == []
    # Nothing was written, so nothing has to be restarted.
    assert found.st_mtime_ns == before
    assert pages.asked == 1


def test_what_is_installed_bears_the_time_of_that(pages: Any, tmp_path: Path) -> None:  # noqa: ANN401
    files = declared(pages, tmp_path, "right")
    run("pinned_files", phase="fetch", **files)
    os.utime(tmp_path / "staging" / SHA256, (1, 1))
    before = time.time() - 1
    run("pinned_files", phase="install", **files)
    assert (tmp_path / "places" / "right").stat().st_mtime >= before


def test_what_interrupted_runs_left_goes_unreported(pages: Any, tmp_path: Path) -> None:  # noqa: ANN401
    files = declared(pages, tmp_path, "right")
    run("pinned_files", phase="fetch", **files)
    left = [tmp_path / "staging" / name for name in ("a" * 64, "b" * 64 + ".part")]
    for path in left:
        path.touch()
    mine = tmp_path / "staging" / "mine"
    mine.touch()
    assert run("pinned_files", phase="fetch", check=True, **files)["changes"] == [] and left[0].exists()
    assert run("pinned_files", phase="fetch", **files)["changes"] == []
    assert sorted(path.name for path in mine.parent.iterdir()) == sorted([SHA256, "mine"])
    mine.unlink()
    run("pinned_files", phase="install", **files)
    mine.parent.mkdir()
    left[0].touch()
    assert run("pinned_files", phase="fetch", **files)["changed"] is False
    assert not mine.parent.exists()


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


def test_a_mode_that_is_none(tmp_path: Path) -> None:
    result = run("pinned_files", phase="fetch", files=[
        {"url": "http://x/k3s", "sha256": SHA256, "path": str(tmp_path / "k3s"), "mode": "rwx"}])
    assert "mode rwx is not octal" in result["msg"] and result["remedy"]


def test_what_is_packed_is_unpacked_and_known_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("pinned_files")
    monkeypatch.setattr(module, "UNPACKED", str(tmp_path / "unpacked"))
    packed = bz2.compress(b"program")
    file = {"url": "http://127.0.0.1:9/x.bz2", "sha256": hashlib.sha256(packed).hexdigest(), "unpack": "bz2",
            "path": str(tmp_path / "program"), "mode": "0755"}
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / file["sha256"]).write_bytes(packed)
    assert module.found(file) is None
    assert module.install([file], str(staging), check=False) == [f"{tmp_path}/program: installed"]
    assert (tmp_path / "program").read_bytes() == b"program" and module.found(file) == file["sha256"]
    (tmp_path / "program").write_bytes(b"another")
    assert module.found(file) != file["sha256"]


def test_what_is_not_packed_like_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load("pinned_files")
    monkeypatch.setattr(module, "UNPACKED", str(tmp_path / "unpacked"))
    packed = bz2.compress(b"program" * 1000)[:-5]
    file = {"url": "http://127.0.0.1:9/x.bz2", "sha256": hashlib.sha256(packed).hexdigest(), "unpack": "bz2",
            "path": str(tmp_path / "program"), "mode": "0755"}
    (tmp_path / file["sha256"]).write_bytes(packed)
    with pytest.raises(module.CannotError, match="no whole file of bz2"):
        module.install([file], str(tmp_path), check=False)
    assert not (tmp_path / "program").exists()
