"""A download ends with the right file or with one line that says why not."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from file_server import serve
from tiny_cifar import TINY10, binary_files, pack, tiny_arrays, with_archive, write_all

from datasets import download as module
from datasets.cifar import MIRRORS_VARIABLE, load_cifar
from datasets.download import download
from errors import InputError

CONTENT = np.random.RandomState(0).bytes(50_000)
DIGESTS = {"sha256": hashlib.sha256(CONTENT).hexdigest()}
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", (2, 0.3))
    monkeypatch.setattr(module, "PAUSE", 0)


def fetch(folder, *servers):
    path = folder / "file.tar.gz"
    download(path, [server.url for server in servers], DIGESTS, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert sorted(os.listdir(folder)) == ["file.tar.gz", "file.tar.gz.lock"]


def refused(folder, match, *servers):
    with pytest.raises(InputError, match=match) as refusal:
        fetch(folder, *servers)
    assert "\n" not in str(refusal.value)
    assert not (folder / "file.tar.gz").exists()


@pytest.mark.parametrize("manner", ["whole", "ranges", "compressed"])
def test_a_file_is_downloaded_once(manner, tmp_path):
    with serve(CONTENT, manner) as server:
        fetch(tmp_path, server)
        fetch(tmp_path, server)
        assert server.requests == [None]


@pytest.mark.parametrize("manner", ["missing", "truncates", "stalls", "wrong", "endless"])
def test_the_next_mirror_is_tried(manner, tmp_path):
    with serve(CONTENT, manner) as bad, serve(CONTENT, "ranges") as good:
        fetch(tmp_path, bad, good)
        assert len(bad.requests) == len(good.requests) == 1


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("missing", "HTTP 404"),
        ("truncates", "connection broke off"),
        ("stalls", "stalled"),
        ("wrong", "wrong checksum"),
        ("endless", "longer than 50,000 bytes"),
    ],
)
def test_bad_mirrors_alone_are_named_with_the_reason(manner, reason, tmp_path):
    with serve(CONTENT, manner) as server:
        refused(tmp_path, rf"127\.0\.0\.1:{server.server_address[1]}: ({reason})", server)


def test_no_server_at_all_is_said(tmp_path):
    with serve(CONTENT) as gone:
        pass
    refused(tmp_path, "no connection", gone)


@pytest.mark.parametrize("manner", ["ranges", "whole", "other range"])
@pytest.mark.parametrize("have", [1, 20_000, 49_999])
def test_a_partial_file_is_completed_or_begun_again(manner, have, tmp_path):
    partial = tmp_path / "file.tar.gz.part"
    partial.write_bytes(CONTENT[:have])
    with serve(CONTENT, manner) as server:
        if manner == "other range":
            refused(tmp_path, "another range", server)
        else:
            fetch(tmp_path, server)
            assert server.requests == [f"bytes={have}-"]


def test_a_partial_file_that_is_whole_needs_no_server(tmp_path):
    (tmp_path / "file.tar.gz.part").write_bytes(CONTENT)
    with serve(CONTENT) as server:
        fetch(tmp_path, server)
        assert not server.requests


@pytest.mark.parametrize("partial", [b"x" * 20_000, b"x" * 50_000, b"x" * 60_000])
@pytest.mark.parametrize("manner", ["ranges", "whole"])
def test_a_partial_file_of_something_else_does_not_stand_in_the_way(partial, manner, tmp_path):
    (tmp_path / "file.tar.gz.part").write_bytes(partial)
    with serve(CONTENT, manner) as server:
        fetch(tmp_path, server)


def test_a_connection_that_always_breaks_off_is_resumed_while_it_brings_something(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "PROGRESS", 1)
    with serve(CONTENT, "halves") as server:
        fetch(tmp_path, server)
        assert len(server.requests) > 10


def test_a_slow_mirror_is_left_for_a_faster_one_but_taken_if_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SLOW_SECONDS", 0)
    monkeypatch.setattr(module, "SLOW_BYTES_PER_SECOND", 1e12)
    monkeypatch.setattr(module, "_BLOCK", 1000)
    with serve(CONTENT, "drips") as slow, serve(CONTENT, "ranges") as fast:
        fetch(tmp_path, slow, fast)
        assert len(fast.requests) == 1
    (tmp_path / "file.tar.gz").unlink()
    with serve(CONTENT, "drips") as slow:
        fetch(tmp_path, slow)


def test_a_checksum_of_ones_own_replaces_the_built_in_one(tmp_path):
    (tmp_path / "file.tar.gz.sha256").write_text(DIGESTS["sha256"].upper())
    with serve(CONTENT) as server:
        download(tmp_path / "file.tar.gz", [server.url], {"md5": "0" * 32}, 7)
    assert (tmp_path / "file.tar.gz").read_bytes() == CONTENT


def test_a_mirror_may_not_send_without_end_where_the_size_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UNKNOWN_SIZE", 100_000)
    (tmp_path / "file.tar.gz.sha256").write_text(DIGESTS["sha256"])
    with serve(CONTENT, "endless") as server:
        refused(tmp_path, "longer than 100,000 bytes", server)
    assert (tmp_path / "file.tar.gz.part").stat().st_size <= 100_000


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
    with serve(CONTENT, "stalls") as server:
        first = start(path, server)
        while not server.requests:
            time.sleep(0.01)
        second = start(path, server)
        assert "waiting for another process" in second.stderr.readline()
        server.manner = "ranges"
        first.kill()  # the lock goes with the process, and the next one takes up what it left
        third = start(path, server)
        for process in (first, second, third):
            process.communicate()
        assert (second.returncode, third.returncode) == (0, 0)
        assert len(server.requests) == 2
    assert path.read_bytes() == CONTENT


def test_a_disk_that_fills_up_is_one_line(tmp_path):
    path = tmp_path / "file.tar.gz"
    with serve(CONTENT) as server:
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


def test_an_archive_of_the_wrong_content_is_refused_though_its_checksum_is_right(
    tmp_path, monkeypatch
):
    archive = pack("elsewhere", binary_files(TINY10))
    with serve(archive) as server:
        monkeypatch.setenv(MIRRORS_VARIABLE, server.url)
        with pytest.raises(InputError, match="not the official archive"):
            load_cifar(with_archive(TINY10, "binary", archive), tmp_path)
    assert sorted(os.listdir(tmp_path)) == [
        TINY10.binary.archive,
        f"{TINY10.binary.archive}.lock",
    ]


def test_files_at_hand_are_preferred_to_the_network(tmp_path, monkeypatch):
    with serve(b"") as server:
        monkeypatch.setenv(MIRRORS_VARIABLE, server.url)
        write_all(tmp_path, binary_files(TINY10))
        load_cifar(TINY10, tmp_path)
        assert not server.requests
