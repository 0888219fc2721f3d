"""An archive gives the wanted files or a one-line error; it writes nothing."""

from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest
from tiny_cifar import pack

from datasets.archive import read_members
from errors import InputError

FILES = {"a.bin": b"aaaa", "b.bin": b"bbbb"}
WHOLE = pack("folder", FILES)


def read(content, folder):
    path = folder / "archive.tar.gz"
    path.write_bytes(content)
    try:
        return read_members(path, "folder", {"a.bin": 4, "b.bin": 4, "names": 9}, ["names"])
    finally:
        assert os.listdir(folder) == ["archive.tar.gz"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("folder", ["folder", "./folder"])
def test_the_wanted_files_come_out_of_every_kind_of_tar(form, folder, tmp_path):
    others = {"readme.html": b"x" * 1000, "more/a.bin": b"?", "../../a.bin": b"?", "x" * 100: b"?"}
    assert read(pack(folder, {**others, **FILES}, format=form), tmp_path) == FILES


def link():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        member = tarfile.TarInfo("folder/a.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (link(), "a.bin is not a regular file"),
        (pack("folder", {**FILES, "b.bin": b"bbbbb"}), "b.bin is not a regular file of its size"),
        (pack("elsewhere", FILES), "not the official archive: a.bin, b.bin is missing"),
        (b"", "damaged|not the official"),
        (b"no archive at all", "damaged"),
        (gzip.compress(b"x"), "damaged"),
        (WHOLE[:60], "damaged"),
    ],
    ids=range(7),  # gzip's bytes tell the time
)
def test_what_is_no_such_archive_is_refused(content, match, tmp_path):
    with pytest.raises(InputError, match=rf"archive\.tar\.gz.*({match})") as refusal:
        read(content, tmp_path)
    assert "\n" not in str(refusal.value)
