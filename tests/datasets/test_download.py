"""A download ends with the right file or with one line that says why not."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_cifar import TINY10, binary_files, pack, tiny_arrays, with_archive

from datasets import download as module
from datasets.cifar import MIRRORS_VARIABLE, load_cifar
from datasets.download import download
from errors import InputError

CONTENT = np.random.RandomState(0).bytes(50_000)
DIGESTS = {"sha256": hashlib.sha256(CONTENT).hexdigest()}
ROOT = Path(__file__).parents[2]


class Server(http.server.ThreadingHTTPServer):
    """Serves one file at every address: whole, in ranges, or badly in the way of `manner`."""

    daemon_threads = True

    def __init__(self, content, manner):
        self.content, self.manner, self.released = content, manner, threading.Event()
        self.requests = []  # the range that each asked for
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        manner, content, asked = self.server.manner, self.server.content, self.headers["Range"]
        self.server.requests.append(asked)
        start = int(asked[len("bytes=") : -1]) if manner in ("ranges", "halves") else 0
        if manner == "missing" or start >= len(content):
            self.send_error(404 if manner == "missing" else 416)
            return
        body = content[start:] if manner != "wrong" else content[::-1]
        self.send_response(206 if start else 200)
        if start or manner == "other range":
            self.send_header("Content-Range", f"bytes {start or 7}-/{len(content)}")
        if manner == "whole":  # as servers call any file of this ending
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body) * (1 + (manner == "longer"))))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may well hang up
            if manner in ("halves", "stalls"):
                body = body[: (len(body) + 1) // 2]
            self.wfile.write(body * (1 + (manner == "longer")))
            if manner == "stalls":
                self.wfile.flush()
                self.server.released.wait()

    def log_message(self, format, *args):
        """Say nothing."""


@contextlib.contextmanager
def serve(content=CONTENT, manner="ranges"):
    with Server(content, manner) as server:
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
    download(path, [server.url for server in servers], DIGESTS, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert sorted(os.listdir(folder)) == ["file.tar.gz", "file.tar.gz.lock"]


@pytest.mark.parametrize("manner", ["whole", "ranges"])
def test_a_file_is_downloaded_once(manner, tmp_path):
    with serve(manner=manner) as server:
        fetch(tmp_path, server)
        fetch(tmp_path, server)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("missing", "HTTP 404"),
        ("halves", "connection broke off"),
        ("stalls", "connection broke off: ReadTimeoutError"),
        ("wrong", "wrong checksum"),
        ("longer", "longer than 50,000 bytes"),
        ("other range", "another range"),
    ],
)
def test_a_bad_mirror_is_named_and_the_next_one_tried(manner, reason, tmp_path):
    with serve(manner=manner) as bad, serve() as good:
        with pytest.raises(InputError, match=rf"{bad.url[7:]}: .*{reason}") as refusal:
            fetch(tmp_path, bad)
        assert "\n" not in str(refusal.value)
        assert not (tmp_path / "file.tar.gz").exists()
        fetch(tmp_path, bad, good)
        assert len(good.requests) == 1


def test_no_server_at_all_is_said(tmp_path):
    with serve() as gone:
        pass
    with pytest.raises(InputError, match="no answer: ConnectionError"):
        fetch(tmp_path, gone)


@pytest.mark.parametrize("manner", ["ranges", "whole"])
@pytest.mark.parametrize(
    "partial", [CONTENT[:1], CONTENT[:-1], CONTENT, b"x" * 20_000, b"x" * 50_000, b"x" * 60_000]
)
def test_a_partial_file_is_completed_or_begun_again(partial, manner, tmp_path):
    (tmp_path / "file.tar.gz.part").write_bytes(partial)
    with serve(manner=manner) as server:
        fetch(tmp_path, server)
        if CONTENT.startswith(partial):
            assert server.requests == [f"bytes={len(partial)}-"] * (partial != CONTENT)


def test_a_connection_that_always_breaks_off_is_resumed_while_it_brings_something(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "PROGRESS", 1)
    with serve(manner="halves") as server:
        fetch(tmp_path, server)
        assert len(server.requests) > 10


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


def test_a_checksum_of_ones_own_replaces_the_built_in_one(tmp_path, monkeypatch):
    path = tmp_path / "file.tar.gz"
    (tmp_path / "file.tar.gz.sha256").write_text(DIGESTS["sha256"].upper())
    with serve(manner="longer") as longer, serve() as server:
        monkeypatch.setattr(module, "UNKNOWN_SIZE", 70_000)
        with pytest.raises(InputError, match="longer than 70,000 bytes"):
            download(path, [longer.url], {}, 7)
        path.with_name("file.tar.gz.part").unlink()
        download(path, [server.url], {"md5": "0" * 32}, 7)
    assert path.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*cannot be written to"):
        download(tmp_path / "file" / "data" / "x.tar.gz", ["http://127.0.0.1:9"], DIGESTS, 1)


# Arguments: path, mirror, digest, size, and the length beyond which the disk is full.
PROCESS = """
import resource, signal, sys
from pathlib import Path
from datasets.download import download
from errors import command_line

@command_line
def main():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]), -1))
    download(Path(sys.argv[1]), [sys.argv[2]], {"sha256": sys.argv[3]}, int(sys.argv[4]))

sys.exit(main())
"""


def start(path, server, disk=-1):
    arguments = [path, server.url, DIGESTS["sha256"], len(CONTENT), disk]
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_two_processes_one_downloads_and_both_have_the_file(tmp_path):
    path = tmp_path / "file.tar.gz"
    with serve(manner="stalls") as server:
        first = start(path, server)
        while not server.requests:
            time.sleep(0.01)
        second = start(path, server)
        assert "waiting for another process" in second.stderr.readline()
        server.manner = "ranges"
        first.kill()  # the lock goes with the process, and the next one takes up what it left
        for process in (first, second):
            process.communicate()
        assert second.returncode == 0
    assert path.read_bytes() == CONTENT


def test_a_disk_that_fills_up_is_one_line(tmp_path):
    path = tmp_path / "file.tar.gz"
    with serve() as server:
        ended = start(path, server, disk=30_000)
        _, errors = ended.communicate()
    assert ended.returncode == 2
    assert errors.endswith(f"\nerror: {path}.part cannot be written: File too large\n")
    assert not path.exists()


def test_cifar_is_downloaded_where_there_is_none_and_found_there_later(tmp_path, monkeypatch):
    archive = pack(TINY10.binary.folder, binary_files(TINY10))
    source = with_archive(TINY10, "binary", archive)
    with serve(archive) as server:
        monkeypatch.setenv(MIRRORS_VARIABLE, f"{server.url}/elsewhere {server.url}/")
        one = load_cifar(source, tmp_path / "new")
        other = load_cifar(source, tmp_path / "new")
        assert len(server.requests) == 1
    assert one.fingerprint == other.fingerprint
    np.testing.assert_array_equal(one.train.images, tiny_arrays(source)[0][:100])
