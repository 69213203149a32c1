"""Clips made by the project: a moving pattern and a speech-like sound, encoded once.

A call sends a clip again and again without encoding, so that eleven calls cost a quarter of a
core and the sender's own encoder never limits what is measured. Clips are ordinary files (WebM
for VP8 and Opus, a plain byte stream for H.264) in the user's cache (`clip_directory`), made at
first use by `clip_maker`; without a writable cache they are made for this process alone.
"""

from __future__ import annotations

import fcntl
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import av

from jharnet_monitor.profiles import (
    AUDIO_BITS_PER_SECOND,
    AUDIO_FRAMES_PER_SECOND,
    FRAMES_PER_SECOND,
    RUNGS,
    Rung,
)
from jharnet_monitor.rtc.codecs import DEFAULT, Codec

_log = logging.getLogger(__name__)

LOOP_SECONDS = 4
LOOP_FRAMES = LOOP_SECONDS * FRAMES_PER_SECOND
EDITION = 3
"""Part of the file name: raise it when the pattern or the encoding changes."""
AUDIO_CLIP = f"speech-{AUDIO_BITS_PER_SECOND // 1000}k-{EDITION}.webm"
_MAKING_SECONDS = 300.0


class ClipsMissing(RuntimeError):
    """The clips could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Clip:
    """An encoded loop: one entry a frame, `keyframes` are the entries that stand alone."""

    frames: tuple[bytes, ...]
    keyframes: tuple[int, ...]

    def next_keyframe(self, index: int) -> int:
        """The first keyframe at or after `index`, around the end of the loop."""
        for key in self.keyframes:
            if key >= index:
                return key
        return self.keyframes[0]


_clips: dict[str, Clip] = {}
_loading = threading.Lock()


def video_name(step: Rung, codec: Codec = DEFAULT) -> str:
    """The file name of a rung's clip."""
    kind = "webm" if codec == "vp8" else codec
    return f"{step.height}p-{step.video // 1000}k-{EDITION}.{kind}"


def clip_names(codec: Codec) -> list[str]:
    """The files of all clips that a call with this codec may send."""
    return [*(video_name(step, codec) for step in RUNGS if step.video), AUDIO_CLIP]


def video_clip(step: Rung, codec: Codec = DEFAULT) -> Clip:
    """The clip of a rung. Blocks for seconds the first time, so `prepare` off the loop."""
    name = video_name(step, codec)
    if name not in _clips:
        prepare(codec)
    return _clips[name]


def audio_clip() -> Clip:
    """The Opus clip: 20 ms a frame."""
    if AUDIO_CLIP not in _clips:
        prepare()
    return _clips[AUDIO_CLIP]


def prepare(codec: Codec = DEFAULT) -> None:
    """Have every clip of a codec at hand; makes them the first time. Raises `ClipsMissing`."""
    names = clip_names(codec)
    with _loading:
        if all(name in _clips for name in names):
            return
        directory = clip_directory()
        if directory is not None:
            try:
                _clips.update(_load(directory, codec))
            except OSError as error:
                _log.info("no clip cache in %s (%s)", directory, error)
        if not all(name in _clips for name in names):
            with tempfile.TemporaryDirectory(prefix="jharnet-clips-") as scratch:
                _clips.update(_load(Path(scratch), codec))


def prepare_ahead(*codecs: Codec) -> None:
    """Prepare in the background, so that the first call need not wait; trouble is logged."""

    def work() -> None:
        try:
            for codec in codecs:
                prepare(codec)
        except ClipsMissing as error:
            _log.error("conference tests will not be possible: %s", error)

    # Not the loop's own executor: ending would wait for it.
    threading.Thread(target=work, name="clips", daemon=True).start()


def clip_directory() -> Path | None:
    """Where clips are kept: `$JHARNET_MONITOR_CACHE`, else the user's XDG cache; None: nowhere."""
    named = os.environ.get("JHARNET_MONITOR_CACHE")
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "jharnet-monitor"
    except RuntimeError:  # no home directory, as under a hardened service
        return None


def _load(directory: Path, codec: Codec) -> dict[str, Clip]:
    """Read all clips; what is missing is made while every other process waits for it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = clip_names(codec)
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = {name: clip for name in names if (clip := _read(directory / name))}
        if len(found) < len(names):
            _make(directory, codec)
            found = {name: clip for name in names if (clip := _read(directory / name))}
    missing = set(names) - set(found)
    if missing:
        raise ClipsMissing(f"{directory} has no {', '.join(sorted(missing))}")
    return found


def _make(directory: Path, codec: Codec) -> None:
    """Encode what is missing, in a program of its own that tells the name of each clip made."""
    begun = time.monotonic()
    _log.info("making the %s clips in %s, which takes some seconds", codec, directory)
    argv = [sys.executable, "-m", "jharnet_monitor.rtc.media.clip_maker", str(directory), codec]
    told = ""
    with subprocess.Popen(  # noqa: S603 - our own module
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as maker:
        guard = threading.Timer(_MAKING_SECONDS, maker.kill)
        guard.start()
        for line in maker.stdout or ():
            told = line.strip()
            _log.info("clip %s", told)
        guard.cancel()
    if maker.returncode:
        late = time.monotonic() - begun >= _MAKING_SECONDS
        why = f"took more than {_MAKING_SECONDS:g} s" if late else f"failed: {told}"
        raise ClipsMissing(f"encoding {why}")
    _log.info("the %s clips are made, in %.0f s", codec, time.monotonic() - begun)


def _read(path: Path) -> Clip | None:
    """The frames of a file; None where there is none, and a damaged one is taken away."""
    if not path.exists():
        return None
    frames: list[bytes] = []
    keyframes: list[int] = []
    try:
        with av.open(str(path), "r") as container:
            rate = FRAMES_PER_SECOND if container.streams.video else AUDIO_FRAMES_PER_SECOND
            for packet in container.demux(container.streams[0]):
                if packet.size:
                    if packet.is_keyframe:
                        keyframes.append(len(frames))
                    frames.append(bytes(packet))
    except av.FFmpegError as error:
        _log.warning("the clip %s is damaged (%s) and is made anew", path, error)
        path.unlink()
        return None
    if not rate * LOOP_SECONDS <= len(frames) <= rate * LOOP_SECONDS + 2 or keyframes[:1] != [0]:
        _log.warning("the clip %s is not whole (%d frames) and is made anew", path, len(frames))
        path.unlink()
        return None
    return Clip(tuple(frames), tuple(keyframes))
