"""The agent's releases at the hub: published from bundles, checked, and read in pieces."""

from __future__ import annotations

import base64
import os
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.errors import UserError, file_error
from jharnet_monitor.handover.release import (
    MANIFEST,
    MOST_MANIFEST_BYTES,
    SIGNATURE,
    Release,
    ReleaseRefused,
    fingerprint,
    key_text,
    read_release,
    sha256,
)
from jharnet_monitor.security.damaged_zip import DamagedZipError, reading_zip

KEY = "bundle.pub"
_MOST_KEY_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Published:
    """A release with the manifest and signature that prove it, as an agent gets them."""

    release: Release
    manifest: bytes
    signature: bytes
    directory: Path

    def piece(self, wheel: str, offset: int, most: int) -> bytes:
        """Read at most `most` bytes of a wheel from `offset` on; blocks."""
        with (self.directory / "wheels" / wheel).open("rb") as file:
            file.seek(offset)
            return file.read(most)

    def to_params(self) -> dict[str, str]:
        """Manifest and signature, as parameters of the agent's task."""
        return {
            "manifest": base64.b64encode(self.manifest).decode(),
            "signature": base64.b64encode(self.signature).decode(),
        }


class Releases:
    """A directory of published releases, all signed with the key in its `bundle.pub`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def key(self) -> str | None:
        """The public key of all releases, for `Enrolment`; None before the first release."""
        try:
            return key_text((self.directory / KEY).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from None

    def publish(self, bundle: Path, expected: str | None) -> Release:
        """Publish the agent's release from a bundle; blocks.

        `expected` is the fingerprint of the bundle's key, needed for the first release. Raises
        `UserError` for a bundle of another key, for one that was changed, and for one that is older
        than a published one.
        """
        try:
            if os.geteuid() == 0:
                _each_owned(self.directory, lambda descriptor: None)
            with reading_zip():
                opened = zipfile.ZipFile(bundle)
            with opened as archive:
                pem = _member(archive, KEY, _MOST_KEY_BYTES)
                self._check_key(pem, expected)
                manifest = _member(archive, MANIFEST, MOST_MANIFEST_BYTES)
                signature = _member(archive, SIGNATURE, _MOST_KEY_BYTES)
                release = read_release(manifest, signature, key_text(pem))
                self._check_serial(release)
                self._unpack(archive, release, {MANIFEST: manifest, SIGNATURE: signature})
            if not (self.directory / KEY).exists():
                _write(self.directory / KEY, pem)
            _give_to_owner(self.directory)
        except DamagedZipError:
            raise UserError(
                f"{bundle}: is no bundle, or a damaged one; nothing was published. Copy it again; "
                "`jharnet-monitor bundle` makes one"
            ) from None
        except OSError as error:
            where = error.filename or bundle
            raise file_error(f"nothing was published: {where}", error) from None
        except ReleaseRefused as error:
            raise UserError(f"{bundle}: {error}; nothing was published") from None
        return release

    def _check_key(self, pem: bytes, expected: str | None) -> None:
        known = self.key()
        if known is not None and known != key_text(pem):
            raise UserError(
                f"the bundle was signed with another key than {self.directory / KEY}, which the "
                "agents trust; sign with that key, or enrol every agent again"
            )
        if expected is None and known is None:
            raise UserError("the first release needs --fingerprint, as `bundle` printed it")
        if expected is not None and _digits(expected) != _digits(fingerprint(pem)):
            raise UserError("the bundle was signed with another key than --fingerprint names")

    def _check_serial(self, release: Release) -> None:
        """Refuse a release that agents would refuse, because they may have run a newer one."""
        every = list(self.all())
        if not every or release.serial >= every[-1].release.serial:
            return
        last = every[-1].release
        why = ""
        if last.serial > SystemClock().now().timestamp():
            why = " (a time in the future: the clock of its maker was probably wrong)"
        raise ReleaseRefused(
            f"its serial {release.serial} is lower than {last.serial} of {last.version}, which is "
            f"published{why}: agents that ran that one would refuse it; make the bundle again with "
            f"`--serial N`, where N is greater than {last.serial}"
        )

    def _unpack(self, archive: zipfile.ZipFile, release: Release, proof: dict[str, bytes]) -> None:
        place = self.directory / release.id
        partial = self.directory / f".{release.id}.part"
        shutil.rmtree(partial, ignore_errors=True)
        (partial / "wheels").mkdir(parents=True)
        try:
            for name, wheel in release.wheels.items():
                data = _member(archive, f"wheels/{name}", wheel.size)
                if sha256(data) != wheel.sha256:
                    raise ReleaseRefused(f"{name} is not the file that was signed")
                _write(partial / "wheels" / name, data)
            for name, data in proof.items():
                _write(partial / name, data)
            shutil.rmtree(place, ignore_errors=True)
            partial.rename(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def all(self) -> Iterator[Published]:
        """Every release with a valid signature, the latest last."""
        found = []
        for path in self.directory.glob(f"*/{MANIFEST}"):
            try:
                found.append(self._read(path.parent))
            except (ReleaseRefused, OSError):
                continue
        yield from sorted(found, key=lambda one: one.release.serial)

    def find(self, version: str) -> Published:
        """The latest release of a version; raises `UserError` with the known versions."""
        every = list(self.all())
        for one in reversed(every):
            if one.release.version == version:
                return one
        known = ", ".join(dict.fromkeys(one.release.version for one in every)) or "none yet"
        raise UserError(f"no release {version[:40]} is published; there are: {known}")

    def _read(self, directory: Path) -> Published:
        manifest = (directory / MANIFEST).read_bytes()
        signature = (directory / SIGNATURE).read_bytes()
        release = read_release(manifest, signature, self.key() or "")
        return Published(release, manifest, signature, directory)


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """The content of a file of a bundle; raises `ReleaseRefused`.

    Only stored and deflated data is unpacked no further than it is read.
    """
    with reading_zip(), archive.open(name) as file:
        if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ReleaseRefused(f"{name} is compressed in a way that no bundle is")
        data = file.read(most + 1)
    if len(data) > most:
        raise ReleaseRefused(f"{name} is larger than it may be")
    return data


def _digits(text: str) -> str:
    return text.replace("-", "").replace(" ", "").lower()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:  # as root, never through a link of the service's user
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _give_to_owner(directory: Path) -> None:
    """If root publishes, give the files to the service that has to read them."""
    if os.geteuid() == 0:
        owner = directory.parent.stat()
        _each_owned(directory, lambda opened: os.fchown(opened, owner.st_uid, owner.st_gid))


def _each_owned(directory: Path, use: Callable[[int], None]) -> None:
    """Call `use` with the descriptor of the directory and of all in it; raises `UserError`.

    The service's user owns the directory, and could place a link there to a file of root's. So
    root opens without following links, and accepts only files and directories.
    """
    if not os.path.lexists(directory):
        return
    _use_owned(directory, None, use, directory)
    for place, directories, files, descriptor in os.fwalk(directory):
        for name in (*directories, *files):
            _use_owned(name, descriptor, use, Path(place) / name)


def _use_owned(
    name: str | Path, within: int | None, use: Callable[[int], None], path: Path
) -> None:
    try:
        # Not blocking, because opening a pipe would wait for its writer.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=within)
    except OSError as error:
        raise _foreign(path) from error
    try:
        found = os.fstat(descriptor)
        # A file with a second name may be a file of root's as well.
        alone = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        if not alone and not stat.S_ISDIR(found.st_mode):
            raise _foreign(path)
        use(descriptor)
    finally:
        os.close(descriptor)


def _foreign(path: Path) -> UserError:
    return UserError(f"{path}: is neither a plain file nor a directory; delete it, and try again")
