"""Installs a release that the hub offers: verifies it, fetches missing wheels, installs, restarts.

The hub opens the task `update` while the office's line is free, and decides how much the agent may
fetch at a time. Fetched data survives lost sessions, restarts and power cuts.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import aiohttp

from jharnet_monitor.agent.versions import Versions
from jharnet_monitor.errors import UserError
from jharnet_monitor.probes.base import AgentContext, Channel, ChannelClosed
from jharnet_monitor.probes.deferred import Deferred
from jharnet_monitor.wire.connect_errors import describe_error

log = logging.getLogger(__name__)

TASK = "update"
"""The name under which the hub opens the task."""
MOST_PIECE_BYTES = 1 << 20
SHORTEST_TRIAL, LONGEST_TRIAL = 20.0, 3600.0
INSTALL_SECONDS = 6 * 3600.0
"""A slow PC with a slow disk may take hours, at lowest priority beside the office's work. This ends
only a program that hangs."""
TRANSFER_SECONDS = 120.0
SEND_SECONDS = 5.0
"""How long the last message of an update may delay the restart."""
FREE_BYTES = 600_000_000
"""A version needs some 250 MB of disk, and measurements must still fit beside it."""

_read_release = Deferred("jharnet_monitor.handover.release:read_release")
"""Loaded only for an update, because its library takes memory."""


class UpdateRefused(UserError):
    """The release cannot be used here, or was changed in transit."""


class UpdateDoesNotFit(UpdateRefused):
    """The release is for other machines, which is no fault of it."""


class Updater:
    """The agent's half of an update. It installs within `load`, which marks what is measured
    meanwhile, and calls `restart` once the new version is active."""

    def __init__(
        self, versions: Versions, key: str, restart: Callable[[], None],
        load: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:  # fmt: skip
        self._load = load
        self._versions = versions
        self._key = key
        self._restart = restart
        self._busy = asyncio.Lock()
        self._installing: asyncio.Task[None] | None = None
        """The installation, which goes on when the session ends."""
        self._installed_offer = ""
        self._listener: Channel | None = None
        """The last channel on which the hub asked about the installation."""
        self.report = self._last_report()
        """The result of the last update, for the hub; None if there was none."""

    async def confirm(self) -> None:
        """Keep the version on trial, because it reached the hub."""
        await asyncio.to_thread(self._versions.confirm)
        self.report = self._last_report()

    def trial_seconds(self) -> float | None:
        """The length of this process's trial; None if it is not the version on trial."""
        trial = self._versions.trial()
        if trial is None or not self._versions.is_this_process(trial):
            return None
        return trial.trial_seconds

    async def task(
        self, channel: Channel, params: Mapping[str, Any], context: AgentContext
    ) -> None:
        """Fetch the release in `params` as far as the hub allows now; install it once complete.

        If the same offer is being installed already, say so and wait with the hub.
        """
        if self._is_installing() and _offer(params) and _offer(params) == self._installed_offer:
            await self._follow(channel)
            return
        if self._is_busy() or await asyncio.to_thread(self._versions.trial) is not None:
            raise ChannelClosed("an update is already running")
        async with self._busy:
            try:
                release = await asyncio.to_thread(self._proven, params)
                await self._fetch(release, channel, context)
                await channel.send({"state": "installing"})
            except UserError as error:
                await self._refuse(channel, params, error)
            except OSError as error:
                await self._refuse(channel, params, _of_the_disk(error))
            else:
                # The end of the session cancels this task, but cannot stop the installing thread.
                # Without the shield a version would become active and nobody would restart.
                self._listener, self._installed_offer = channel, _offer(params)
                self._installing = asyncio.create_task(self._activate(release, params))
                await asyncio.shield(self._installing)

    def _is_installing(self) -> bool:
        return self._installing is not None and not self._installing.done()

    def _is_busy(self) -> bool:
        return self._busy.locked() or self._is_installing()

    async def _follow(self, channel: Channel) -> None:
        """Tell the hub on a new channel that the installation goes on, and then its result."""
        self._listener = channel
        await channel.send({"state": "installing"})
        if self._installing is not None:
            await asyncio.shield(self._installing)

    async def _activate(self, release: Any, params: Mapping[str, Any]) -> None:
        """Install the release and restart, whatever becomes of the channel."""
        try:
            with self._load():
                await asyncio.to_thread(self._install, release, params)
        except UserError as error:
            await self._refuse(self._listener, params, error)
            return
        except OSError as error:
            if not await asyncio.to_thread(self._is_on_trial, release):
                await self._refuse(self._listener, params, _of_the_disk(error))
                return
            log.warning("version %s is active, but the disk reports: %s", release.version, error)
        log.info("version %s is installed and starts now", release.version)
        try:
            await _send_state(self._listener, {"state": "restarting"})
        finally:
            self._restart()

    def _is_on_trial(self, release: Any) -> bool:
        """Whether a release is active; an error after the link was changed does not undo that."""
        trial = self._versions.trial()
        return trial is not None and trial.directory == release.id

    def _last_report(self) -> dict[str, object] | None:
        last = self._versions.last()
        if last is None or (last.on_trial and self._versions.trial() is None):
            return None
        return last.to_report()

    async def _refuse(
        self, channel: Channel | None, params: Mapping[str, Any], error: UserError
    ) -> None:
        log.error("refused the hub's update: %s", error)
        fits, serial = not isinstance(error, UpdateDoesNotFit), params.get("serial")
        if isinstance(serial, int):  # identifies the refused release to the hub
            version = str(params.get("version"))[:40]
            refusal = self._versions.refusal(version, serial, str(error), _offer(params), fits=fits)
            try:
                await asyncio.to_thread(self._versions.save, refusal)
            except OSError as failed:
                log.error("the refusal could not be saved: %s", failed)
            self.report = refusal.to_report()  # the hub has to learn of it all the same
        answer = {"state": "refused", "why": str(error)[:200]}
        await _send_state(channel, answer if fits else {**answer, "fits": False})

    # --- verifying

    def _proven(self, params: Mapping[str, Any]) -> Any:
        """The release, if the pinned key signed it, it fits this machine and it is not too old."""
        release = _read_release(_bytes(params, "manifest"), _bytes(params, "signature"), self._key)
        if release.serial < self._versions.floor():
            raise UpdateRefused(f"release {release.id} is older than one that ran here before")
        if release.machine != platform.machine():
            raise UpdateDoesNotFit(f"it is for {release.machine}, and this is {platform.machine()}")
        if not release.pythons.get(_python()):
            raise UpdateDoesNotFit(f"it holds no wheels for Python {_python()}")
        return release

    # --- fetching

    async def _fetch(self, release: Any, channel: Channel, context: AgentContext) -> None:
        """Fetch the missing wheels; raises `ChannelClosed` if the hub stops the transfer."""
        directory = self._versions.wheels
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        names = release.pythons[_python()]
        missing = [
            name
            for name in names
            if not await asyncio.to_thread(_matches, directory / name, release.wheels[name].sha256)
        ]
        parts = {name: _part(directory, name, release.wheels[name].sha256) for name in missing}
        await asyncio.to_thread(_delete_parts_but, directory, set(parts.values()))
        if shutil.disk_usage(directory).free < FREE_BYTES:
            raise UpdateRefused(f"less than {FREE_BYTES / 1e6:.0f} MB are free on the disk")
        bytes_left = sum(release.wheels[name].size - _size(parts[name]) for name in missing)
        await channel.send({"state": "fetching", "bytes_left": bytes_left})
        for name in missing:
            await self._fetch_wheel(name, release.wheels[name], channel, context)

    async def _fetch_wheel(
        self, name: str, wheel: Any, channel: Channel, context: AgentContext
    ) -> None:
        path = self._versions.wheels / name
        part = _part(self._versions.wheels, name, wheel.sha256)
        while (offset := _size(part)) < wheel.size:
            await channel.send({"piece": name, "offset": offset})
            answer = await channel.receive()
            most = min(wheel.size - offset, MOST_PIECE_BYTES)
            data = await _get(context, str(answer.get("path", "")), most)
            await asyncio.to_thread(_append, part, data)
        if not await asyncio.to_thread(_matches, part, wheel.sha256):
            part.unlink(missing_ok=True)
            raise UpdateRefused(f"{name} is not the file that was signed")
        part.replace(path)

    # --- installing

    def _install(self, release: Any, params: Mapping[str, Any]) -> None:
        """Install the release into its own directory, and activate it on trial; blocks."""
        if not self._versions.is_complete(release.id):
            try:
                self._make(release)
            except BaseException:
                self._versions.delete(release.id)  # it may be what filled the disk
                raise
        self._versions.keep_wheels(set(release.wheels))
        self._versions.begin_trial(
            release.version, release.serial, release.id, _trial_seconds(params), _offer(params)
        )

    def _make(self, release: Any) -> None:
        """Make the virtual environment of a release; raises `UpdateRefused` or `OSError`."""
        self._versions.delete(release.id)
        place = self._versions.place(release.id)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self._versions.directory / "release.lock"
        lock.write_text(release.lock(_python()), encoding="utf-8")
        _run(sys.executable, "-P", "-m", "venv", str(place))
        _run(
            str(place / "bin" / "pip"), "--isolated", "install", "--quiet", "--no-index",
            "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary",
            ":all:", "--find-links", str(self._versions.wheels), "-r", str(lock),
        )  # fmt: skip
        self._versions.mark_complete(release.id)

    async def forget_starts(self) -> None:
        """Note that this process has lasted, so that its version is not taken for one that crashes
        right after its start.
        """
        await asyncio.to_thread(self._versions.forget_starts)


def _of_the_disk(error: OSError) -> UpdateRefused:
    return UpdateRefused(f"the disk: {error.strerror or error}")


async def _send_state(channel: Channel | None, message: Mapping[str, Any]) -> None:
    """Tell the hub if it still listens; its session may have ended meanwhile."""
    if channel is None:
        return
    with contextlib.suppress(ChannelClosed, TimeoutError):
        async with asyncio.timeout(SEND_SECONDS):
            await channel.send(message)


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def _bytes(params: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(str(params.get(name, "")), validate=True)
    except (ValueError, binascii.Error):
        raise UpdateRefused(f"its {name} cannot be read") from None


def _trial_seconds(params: Mapping[str, Any]) -> float:
    wanted = params.get("trial_seconds")
    seconds = float(wanted) if isinstance(wanted, int | float) else 600.0
    return min(max(seconds, SHORTEST_TRIAL), LONGEST_TRIAL)


def _offer(params: Mapping[str, Any]) -> str:
    return str(params.get("offer", ""))[:40]


def _part(directory: Path, name: str, sha256: str) -> Path:
    """The part of a wheel; named by its hash, because releases can share the name of a wheel."""
    return directory / f"{name}.{sha256[:16]}.part"


def _delete_parts_but(directory: Path, keep: set[Path]) -> None:
    """Delete parts of other releases, which nothing would complete."""
    for path in directory.glob("*.part"):
        if path not in keep:
            path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _matches(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


async def _get(context: AgentContext, path: str, most: int) -> bytes:
    """A piece from the hub; raises `ChannelClosed` if the transfer failed."""
    if not path.startswith("/agent/transfer/"):
        raise ChannelClosed("the hub sent no path of a transfer")
    timeout = aiohttp.ClientTimeout(total=TRANSFER_SECONDS)
    query = {"office": context.office}
    try:
        async with context.http.get(
            context.hub + path, params=query, timeout=timeout, allow_redirects=False
        ) as answer:
            answer.raise_for_status()
            data = b""
            async for chunk in answer.content.iter_chunked(1 << 16):
                data += chunk
                if len(data) > most:
                    raise ChannelClosed("the hub sent more than was requested")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ChannelClosed(f"the transfer failed: {describe_error(error)}") from error
    if not data:
        raise ChannelClosed("the hub sent nothing")
    return data


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _run(*argv: str) -> None:
    """Run a program at the lowest priority; raises `UpdateRefused` if it fails."""
    priority = ["nice", "-n", "19"] if shutil.which("nice") else []
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    try:
        done = subprocess.run(  # noqa: S603 - Python and pip of this machine
            [*priority, *argv], capture_output=True, text=True, check=False, env=environment,
            timeout=INSTALL_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UpdateRefused(f"{Path(argv[0]).name} took over {INSTALL_SECONDS:g} s") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise UpdateRefused(f"{Path(argv[0]).name} failed: {lines[-1][:150]}")
