"""Whatever `zipfile` raises for a damaged archive reaches the caller as one error."""

from __future__ import annotations

import random
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from jharnet_monitor.security.damaged_zip import DamagedZipError, reading_zip

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with a file of 1 KiB by each method of compression."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as opened:
        for method in METHODS:
            opened.writestr(f"{method}.txt", bytes(range(256)) * 4, method)
    return path


def test_any_damage_is_one_error(archive: Path) -> None:
    """Up to 4 bytes are changed, three in five times in or just behind a header; a tenth of the
    archives are cut off as well."""
    true, draw, found = archive.read_bytes(), random.Random(21), Counter[str]()
    headers = [at for at in range(len(true)) if true[at : at + 2] == b"PK"]
    for _ in range(4000):
        data, at = bytearray(true), draw.randrange(len(true))
        if draw.random() < 0.6:
            at = draw.choice(headers) + draw.randrange(4, 46)
        for place in range(at, min(at + draw.choice((1, 2, 4)), len(true))):
            data[place] = draw.choice((0, 1, 12, 14, 0x7F, 0x80, 0xFF, draw.randrange(256)))
        if draw.random() < 0.1:
            del data[draw.randrange(len(data)) :]
        archive.write_bytes(data)
        try:
            with reading_zip(), zipfile.ZipFile(archive) as opened:
                for name in opened.namelist():
                    with opened.open(name) as file:
                        file.read(5000)
            found["read"] += 1
        except DamagedZipError as error:
            found[type(error.__cause__).__name__] += 1
    assert found["read"] > 1000 and found["BadZipFile"] > 1000 and len(found) > 5, found


def test_a_missing_file_is_damage_and_a_missing_archive_is_not(archive: Path) -> None:
    """The second is the disk's error, which names the path."""
    with pytest.raises(DamagedZipError), reading_zip(), zipfile.ZipFile(archive) as opened:
        opened.read("other.txt")
    archive.unlink()
    with pytest.raises(FileNotFoundError), reading_zip():
        zipfile.ZipFile(archive)


def test_a_place_that_no_file_reaches_is_damage(archive: Path) -> None:
    """The archive states an offset of 2**63."""
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("x.txt", b"x")
        opened.filelist[0].header_offset = 2**63
    with pytest.raises(DamagedZipError), reading_zip(), zipfile.ZipFile(archive) as opened:
        opened.read("x.txt")
