"""A real HTTP server on the loopback that serves one file, well or badly."""

from __future__ import annotations

import contextlib
import http.server
import threading
from typing import Iterator


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `content` at every address, in the way that `manner` says.

    Parameters
    ----------
    content : bytes
        The file.
    manner : str
        ``whole``: ignores ranges; ``ranges``: honours them; ``other range``: sends another than
        asked for; ``truncates``: closes the connection after half; ``halves``: the same, of what
        a range asks for; ``stalls``: sends half and then nothing; ``drips``: slower than the
        client likes; ``missing``: 404; ``endless``: more and more; ``compressed``: as gzip
        encoding; ``wrong``: other bytes of the same length.
    """

    daemon_threads = True

    def __init__(self, content: bytes, manner: str) -> None:
        self.content, self.manner = content, manner
        self.requests: list[str | None] = []  # the range that each asked for
        self.released = threading.Event()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        manner, content = self.server.manner, self.server.content
        asked = self.headers.get("Range")
        self.server.requests.append(asked)
        start = int(asked[len("bytes=") : -1]) if asked else 0  # as in bytes=1000-
        if manner == "missing":
            self.send_error(404)
            return
        if manner in ("ranges", "halves", "other range") and asked:
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            start = 0 if manner == "other range" else start
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
            start = 0
        body = content[start:]
        if manner == "wrong":
            body = bytes(byte ^ 1 for byte in body)
        if manner == "compressed":
            self.send_header("Content-Encoding", "gzip")
        if manner != "endless":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(OSError):  # the client may well hang up
            if manner in ("truncates", "halves"):
                self.wfile.write(body[: (len(body) + 1) // 2])
            elif manner == "stalls":
                self.wfile.write(body[: len(body) // 2])
                self.server.released.wait()
            elif manner == "drips":
                for position in range(0, len(body), 1000):
                    self.wfile.write(body[position : position + 1000])
                    self.server.released.wait(0.01)
            elif manner == "endless":
                while True:
                    self.wfile.write(body)
            else:
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def serve(content: bytes, manner: str = "whole") -> Iterator[FileServer]:
    """Run a server until the block is left."""
    with FileServer(content, manner) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
