"""An archive gives the wanted files or a one-line error; it writes nothing and stays in bounds."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cifar import pack

from datasets import archive
from datasets.archive import check_archive, read_members
from errors import InputError

WANTED = {"folder/a.bin": 4, "folder/b.bin": 4}
FILES = {"a.bin": b"aaaa", "b.bin": b"bbbb"}


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def tar(*members, **options):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", **options) as file:
        for info, content in members:
            file.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def read(content, folder, wanted=WANTED):
    path = folder / "archive.tar.gz"
    path.write_bytes(content)
    before = sorted(os.listdir(folder.parent))
    try:
        return dict(read_members(path, wanted))
    finally:
        assert os.listdir(folder) == ["archive.tar.gz"]
        assert sorted(os.listdir(folder.parent)) == before


def refused(content, folder, match):
    with pytest.raises(InputError, match=match) as refusal:
        read(content, folder)
    assert "\n" not in str(refusal.value)
    assert "archive.tar.gz" in str(refusal.value)


GOOD = (member("folder/a.bin", b"aaaa"), member("folder/b.bin", b"bbbb"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_is_read(form, tmp_path):
    extra = member(
        "folder/readme.html", b"x" * 1000, mtime=1.5 if form == tarfile.PAX_FORMAT else 1
    )
    members = read(tar(*GOOD, extra, format=form), tmp_path)
    assert members == {"folder/a.bin": b"aaaa", "folder/b.bin": b"bbbb"}


def test_names_may_begin_with_a_dot(tmp_path):
    content = tar(member("./folder/a.bin", b"aaaa"), member("./folder/b.bin", b"bbbb"))
    assert len(read(content, tmp_path)) == 2


NAMES = st.text("ab.-\N{CAT FACE}", min_size=1, max_size=120).map(lambda name: f"folder/x{name}")


@given(files=st.dictionaries(NAMES, st.binary(max_size=1500), max_size=8), data=st.data())
def test_whatever_else_an_archive_holds_the_wanted_files_come_out(files, data, tmp_path_factory):
    wanted = [name for name in files if data.draw(st.booleans())]
    content = tar(*(member(name, files[name]) for name in files))
    folder = tmp_path_factory.mktemp("archive")
    members = read(content, folder, {name: len(files[name]) for name in wanted})
    assert members == {name: files[name] for name in wanted}


KINDS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
ELSEWHERE = ("../folder/a.bin", "/folder/a.bin", "folder/../folder/a.bin", "folder/a.bin/../../x")


@pytest.mark.parametrize(
    ("first", "match"),
    [
        *((member(name, b"aaaa"), "folder/a.bin is missing") for name in ELSEWHERE),
        *(
            (member("folder/a.bin", type=kind, linkname="/etc/passwd"), "not a regular file")
            for kind in KINDS
        ),
        (member("folder/a.bin", b"aaaaa"), "not a regular file of its size"),
        (GOOD[1], "twice"),
    ],
    ids=range(len(ELSEWHERE) + len(KINDS) + 2),
)
def test_a_member_that_is_none_of_ours_is_refused(first, match, tmp_path):
    refused(tar(first, GOOD[1]), tmp_path, match)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive at all", gzip.compress(b""), gzip.compress(b"x")],
    ids=["empty", "text", "empty gzip", "text in gzip"],  # gzip's bytes tell the time
)
def test_what_is_no_archive_is_refused(content, tmp_path):
    refused(content, tmp_path, "damaged|not the official")


def test_every_truncation_is_refused(tmp_path):
    whole = pack("folder", FILES)
    for length in range(len(whole) - 1):
        refused(whole[:length], tmp_path, "damaged|not the official")


def claim(name, kind):
    """Return a header that announces 300 MB."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, 300 << 20
    return gzip.compress(info.tobuf())


def _long_name(name):
    info = tarfile.TarInfo(name)
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
    return info


ZEROS = gzip.compress(bytes(1 << 20)) * 300
BOMBS = {
    "another file": claim("folder/other.bin", tarfile.REGTYPE) + ZEROS,
    "extended header": claim("././@PaxHeader", tarfile.XHDTYPE) + ZEROS,
    "extended header alone": claim("././@PaxHeader", tarfile.XHDTYPE),
    "long name": claim("././@LongLink", tarfile.GNUTYPE_LONGNAME) + ZEROS,
    "long names without end": gzip.compress(
        (_long_name("folder/name").tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 2000
    ),
    "many files": gzip.compress(tarfile.TarInfo("folder/c").tobuf() * 100_000),
    "zeros": ZEROS,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_within_the_bound_on_memory(bomb, tmp_path):
    tracemalloc.start()
    try:
        refused(bomb, tmp_path, "more than the official|damaged|is missing")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * archive.SLACK


def test_a_checksum_that_differs_is_refused(tmp_path):
    path = tmp_path / "archive.tar.gz"
    path.write_bytes(b"content")
    check_archive(path, {"md5": "9a0364b9e99bb480dd25e1f0284c8555"})
    with pytest.raises(InputError, match="md5 9a0364b9e99bb480dd25e1f0284c8555, not 00"):
        check_archive(path, {"md5": "00"})
