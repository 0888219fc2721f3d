"""A download ends with the right file or with one line that says why not."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from tiny_cifar import TINY10, pack, tiny_files, with_archive

from datasets import download as module
from datasets.cifar import MIRRORS_VARIABLE, load_cifar
from datasets.download import download
from errors import InputError

CONTENT = np.random.RandomState(0).bytes(50_000)
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends one file from every address, or does so badly in the way of the server's manner."""

    def do_GET(self):
        server = self.server
        first = int(self.headers["Range"][len("bytes=") : -1]) if server.manner != "whole" else 0
        body = server.content[first:]
        server.sent.append(len(body))
        if server.manner == "missing" or not body:
            self.send_error(404 if body else 416)
            return
        self.send_response(200 if server.manner == "whole" else 206)
        self.send_header("Content-Encoding", "gzip")  # as servers call any file of this ending
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may well hang up
            half = body[: len(body) // 2]
            self.wfile.write(half if server.manner in ("half", "stalls") else body)
            if server.manner == "stalls":
                server.released.wait()

    def log_message(self, format, *args):
        """Say nothing."""


@contextlib.contextmanager
def serve(content=CONTENT, manner="good"):
    """Start a server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.manner, server.sent = content, manner, []
        server.released, server.url = threading.Event(), f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()


def fetch(folder, *urls):
    path = folder / "file.tar.gz"
    download(path, urls, CHECKSUM, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert sorted(os.listdir(folder)) == ["file.tar.gz", "file.tar.gz.lock"]


@pytest.mark.parametrize(
    ("manner", "content", "reason"),
    [
        ("missing", CONTENT, "HTTP 404"),
        ("half", CONTENT, "connection broke off: (ProtocolError|IncompleteRead)"),
        ("stalls", CONTENT, "connection broke off: ReadTimeoutError"),
        ("good", CONTENT[::-1], "wrong checksum"),
        ("good", CONTENT + b"x", "longer than 50,000 bytes"),
    ],
    ids=range(5),
)
def test_a_bad_mirror_is_named_and_the_next_one_tried(
    manner, content, reason, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "TIMEOUT", (2, 0.3 if manner == "stalls" else 30))
    with serve(content, manner) as bad, serve() as good:
        unreachable = r"http://127.0.0.1:9: no answer: ConnectionError"
        said = rf"file.tar.gz could not be downloaded \({bad.url}: {reason}; {unreachable}\)"
        with pytest.raises(InputError, match=f"^{said}$"):
            fetch(tmp_path, bad.url, "http://127.0.0.1:9")
        assert not (tmp_path / "file.tar.gz").exists()
        fetch(tmp_path, bad.url, f"{good.url}/")


@pytest.mark.parametrize(
    ("have", "manner", "sent"),
    [
        (CONTENT[:20_000], "good", [30_000]),
        (CONTENT, "good", [0]),
        (CONTENT[:20_000], "whole", [50_000]),
        (b"x" * 20_000, "good", [30_000, 50_000]),
        (b"x" * 60_000, "good", [0, 50_000]),
    ],
    ids=range(5),
)
def test_what_has_arrived_is_kept_if_it_is_right(have, manner, sent, tmp_path):
    (tmp_path / "file.tar.gz.part").write_bytes(have)
    with serve(manner=manner) as server:
        fetch(tmp_path, server.url, server.url)
    assert server.sent == sent


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.*cannot be written to"):
        fetch(tmp_path / "file" / "data", "http://127.0.0.1:9")


def test_of_two_workers_one_downloads_and_both_have_the_data(tmp_path, monkeypatch):
    archive = pack(TINY10.binary.folder, tiny_files(TINY10, "binary"))
    source = with_archive(TINY10, "binary", archive)
    with serve(archive) as server, ThreadPoolExecutor(2) as pool:
        monkeypatch.setenv(MIRRORS_VARIABLE, f"http://127.0.0.1:9 {server.url}")
        one, other = pool.map(lambda _: load_cifar(source, tmp_path).fingerprint, range(2))
    assert server.sent == [len(archive)]
    assert one == other
