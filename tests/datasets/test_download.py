"""A download ends with the right file or with one line that says why not."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.server
import os
import threading
import time

import numpy as np
import pytest
from tiny_cifar import TINY10, pack, tiny_files

from datasets import download as module
from datasets.cifar import MIRRORS_VARIABLE, load_cifar
from datasets.download import download
from errors import InputError

CONTENT = np.random.RandomState(0).bytes(50_000)
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends one file from every address: in ranges, or badly in the way of the server's manner."""

    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.requests.append(asked)
        ranges = asked and server.manner in ("ranges", "halves")
        body = server.content[int(asked[len("bytes=") : -1]) if ranges else 0 :]
        if server.manner == "missing" or not body:
            self.send_error(404 if body else 416)
            return
        self.send_response(206 if ranges else 200)
        if server.manner == "whole":  # as servers call any file of this ending
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.manner in ("halves", "stalls"):
            body = body[: (len(body) + 1) // 2]
        with contextlib.suppress(OSError):  # the client may well hang up
            self.wfile.write(body if server.manner != "wrong" else body[::-1])
            if server.manner == "stalls":
                server.released.wait()

    def log_message(self, format, *args):
        """Say nothing."""


@contextlib.contextmanager
def serve(content=CONTENT, manner="ranges"):
    """Start a server; `requests` has the range that each request asked for."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.manner, server.requests = content, manner, []
        server.released, server.url = threading.Event(), f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", (2, 0.3))
    monkeypatch.setattr(module, "PAUSE", 0)


def fetch(folder, *servers):
    path = folder / "file.tar.gz"
    download(path, [server.url for server in servers], CHECKSUM)
    assert path.read_bytes() == CONTENT
    assert sorted(os.listdir(folder)) == ["file.tar.gz", "file.tar.gz.lock"]


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("missing", "HTTP 404"),
        ("halves", "connection broke off: (ProtocolError|IncompleteRead)"),
        ("stalls", "connection broke off: ReadTimeoutError"),
        ("wrong", "wrong checksum"),
        ("gone", "no answer: ConnectionError"),
        ("ranges", "longer than 49,999 bytes"),
    ],
)
def test_a_bad_mirror_is_named_and_the_next_one_tried(manner, reason, tmp_path, monkeypatch):
    with serve(manner=manner) as bad, serve() as good:
        if manner == "gone":
            bad.url = "http://127.0.0.1:9"
        monkeypatch.setattr(module, "MAX_BYTES", len(CONTENT) - (manner == "ranges"))
        said = rf"^file.tar.gz could not be downloaded \({bad.url[7:]}: ({reason})\)$"
        with pytest.raises(InputError, match=said):
            fetch(tmp_path, bad)
        assert not (tmp_path / "file.tar.gz").exists()
        monkeypatch.setattr(module, "MAX_BYTES", len(CONTENT))
        fetch(tmp_path, bad, good)


@pytest.mark.parametrize("manner", ["ranges", "whole", "halves"])
@pytest.mark.parametrize(
    "partial", [b"", CONTENT[:1], CONTENT[:-1], CONTENT, b"x" * 20_000, b"x" * 60_000]
)
def test_a_partial_file_is_completed_or_begun_again(partial, manner, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS", 1)  # halves break off, but bring something each time
    (tmp_path / "file.tar.gz.part").write_bytes(partial)
    with serve(manner=manner) as server:
        fetch(tmp_path, server)
    assert server.requests[0] == (f"bytes={len(partial)}-" if partial else None)
    if manner != "halves":
        assert len(server.requests) == 1 or not CONTENT.startswith(partial)


def test_a_slow_mirror_is_left_for_a_faster_one_but_taken_if_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SLOW_SECONDS", 0)
    monkeypatch.setattr(module, "SLOW_BYTES_PER_SECOND", 1e12)
    monkeypatch.setattr(module, "_BLOCK", 1000)
    with serve() as slow, serve() as other:
        fetch(tmp_path, slow, other)
        assert (len(slow.requests), len(other.requests)) == (2, 1)
    (tmp_path / "file.tar.gz").unlink()
    with serve() as slow:
        fetch(tmp_path, slow)
        assert len(slow.requests) == 1


def test_a_folder_that_cannot_be_made_and_a_full_disk_are_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*cannot be written to"):
        download(tmp_path / "file" / "data" / "x.tar.gz", ["http://127.0.0.1:9"], CHECKSUM)
    (tmp_path / "file.tar.gz.part").symlink_to("/dev/full")
    with serve() as server, pytest.raises(InputError, match=r"part cannot be written: No space"):
        fetch(tmp_path, server)


def test_of_two_processes_one_downloads_and_both_have_the_file(tmp_path, capsys):
    with open(tmp_path / "file.tar.gz.lock", "a") as lock, serve() as server:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the other process does
        second = threading.Thread(target=fetch, args=(tmp_path, server))
        second.start()
        told = ""
        while "waiting for another process" not in told and second.is_alive():
            time.sleep(0.01)
            told += capsys.readouterr().err
        (tmp_path / "file.tar.gz").write_bytes(CONTENT)
        fcntl.flock(lock, fcntl.LOCK_UN)
        second.join()
    assert "waiting for another process" in told
    assert not server.requests


def test_cifar_is_downloaded_where_there_is_none_and_found_there_later(tmp_path, monkeypatch):
    archive = pack(TINY10.binary.folder, tiny_files(TINY10, "binary"))
    # A checksum of one's own replaces the official one.
    own = hashlib.sha256(archive).hexdigest().upper()
    (tmp_path / f"{TINY10.binary.archive}.sha256").write_text(own)
    with serve(archive) as server:
        monkeypatch.setenv(MIRRORS_VARIABLE, f"{server.url}/elsewhere {server.url}/")
        one, other = load_cifar(TINY10, tmp_path), load_cifar(TINY10, tmp_path)
    assert len(server.requests) == 1
    assert one.fingerprint == other.fingerprint
