"""The clips that calls send: a moving pattern and a speech-like sound, encoded once.

A call sends a clip in a loop without encoding it again, so that eleven calls take a quarter of a
core and the encoder never limits a measurement. Clips are files (WebM for VP8 and Opus, an Annex B
byte stream for H.264) in the user's cache (`clip_directory`). `clip_maker` makes them at first use;
without a writable cache they are made for this process only.
"""

from __future__ import annotations

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

from jharnet_monitor.file_lock import wait_for_lock
from jharnet_monitor.profiles import (
    AUDIO_BITS_PER_SECOND,
    AUDIO_FRAMES_PER_SECOND,
    FRAMES_PER_SECOND,
    RUNGS,
    Rung,
)
from jharnet_monitor.rtc.codecs import DEFAULT_CODEC, Codec

_log = logging.getLogger(__name__)

LOOP_SECONDS = 4
LOOP_FRAMES = LOOP_SECONDS * FRAMES_PER_SECOND
CLIP_VERSION = 3
"""Part of the file names: increase it when the pattern or the encoding changes."""
AUDIO_CLIP = f"speech-{AUDIO_BITS_PER_SECOND // 1000}k-{CLIP_VERSION}.webm"
_ENCODING_TIMEOUT_SECONDS = 300.0


class ClipsMissing(RuntimeError):
    """The clips could not be made; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Clip:
    """An encoded loop: the frames, and the indices of those that are keyframes."""

    frames: tuple[bytes, ...]
    keyframes: tuple[int, ...]

    def next_keyframe(self, index: int) -> int:
        """The index of the first keyframe at or after `index`, continuing at the loop's start."""
        for keyframe in self.keyframes:
            if keyframe >= index:
                return keyframe
        return self.keyframes[0]


_clips: dict[str, Clip] = {}
_load_lock = threading.Lock()


def video_name(rung: Rung, codec: Codec = DEFAULT_CODEC) -> str:
    """The file name of a rung's clip."""
    suffix = "webm" if codec == "vp8" else codec
    return f"{rung.height}p-{rung.video // 1000}k-{CLIP_VERSION}.{suffix}"


def clip_names(codec: Codec) -> list[str]:
    """The file names of all clips that a call with this codec may send."""
    return [*(video_name(rung, codec) for rung in RUNGS if rung.video), AUDIO_CLIP]


def video_clip(rung: Rung, codec: Codec = DEFAULT_CODEC) -> Clip:
    """The clip of a rung. Blocks for seconds the first time unless `prepare_clips` was called."""
    name = video_name(rung, codec)
    if name not in _clips:
        prepare_clips(codec)
    return _clips[name]


def audio_clip() -> Clip:
    """The Opus clip, with frames of 20 ms. Blocks like `video_clip`."""
    if AUDIO_CLIP not in _clips:
        prepare_clips()
    return _clips[AUDIO_CLIP]


def prepare_clips(codec: Codec = DEFAULT_CODEC) -> None:
    """Load all clips of a codec into memory, making them first if necessary.

    Blocks for some seconds when clips are made. Raises `ClipsMissing`.
    """
    names = clip_names(codec)
    with _load_lock:
        if all(name in _clips for name in names):
            return
        directory = clip_directory()
        if directory is not None:
            try:
                _clips.update(_load(directory, codec))
            except OSError as error:
                _log.info("cannot cache clips in %s: %s", directory, error)
        if not all(name in _clips for name in names):
            with tempfile.TemporaryDirectory(prefix="jharnet-clips-") as scratch:
                _clips.update(_load(Path(scratch), codec))


def prepare_clips_in_background(*codecs: Codec) -> None:
    """Start `prepare_clips` in a thread, so that the first call need not wait; logs a failure."""

    def prepare_all() -> None:
        try:
            for codec in codecs:
                prepare_clips(codec)
        except ClipsMissing as error:
            _log.error("conference tests will not be possible: %s", error)

    # A daemon thread, because a clean exit would wait for the event loop's executor.
    threading.Thread(target=prepare_all, name="clips", daemon=True).start()


def clip_directory() -> Path | None:
    """The cache directory: `$JHARNET_MONITOR_CACHE`, else in the user's XDG cache; None if none."""
    configured = os.environ.get("JHARNET_MONITOR_CACHE")
    if configured:
        return Path(configured)
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "jharnet-monitor"
    except RuntimeError:  # no home directory, as in a hardened systemd service
        return None


def _load(directory: Path, codec: Codec) -> dict[str, Clip]:
    """Read all clips of a codec, and make those that are missing.

    A file lock keeps other processes from making the same clips. Raises `ClipsMissing`, and
    `OSError` if the directory cannot be used.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = clip_names(codec)
    with (directory / "lock").open("w") as locked:
        wait_for_lock(locked)
        clips = {name: clip for name in names if (clip := _read(directory / name))}
        if len(clips) < len(names):
            _run_clip_maker(directory, codec)
            clips = {name: clip for name in names if (clip := _read(directory / name))}
    missing = set(names) - set(clips)
    if missing:
        raise ClipsMissing(f"{directory} lacks {', '.join(sorted(missing))} after encoding")
    return clips


def _run_clip_maker(directory: Path, codec: Codec) -> None:
    """Encode the missing clips in a subprocess, which prints the name of each clip it made."""
    started_at = time.monotonic()
    _log.info("making the %s clips in %s, which takes some seconds", codec, directory)
    argv = [
        sys.executable,
        "-P",
        "-m",
        "jharnet_monitor.rtc.media.clip_maker",
        str(directory),
        codec,
    ]
    last_line = ""
    with subprocess.Popen(  # noqa: S603 - our own module
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as maker:
        timeout = threading.Timer(_ENCODING_TIMEOUT_SECONDS, maker.kill)
        timeout.start()
        for line in maker.stdout or ():
            last_line = line.strip()
            _log.info("clip maker: %s", last_line)
        timeout.cancel()
    if maker.returncode:
        if time.monotonic() - started_at >= _ENCODING_TIMEOUT_SECONDS:
            raise ClipsMissing(f"encoding took more than {_ENCODING_TIMEOUT_SECONDS:g} s")
        raise ClipsMissing(f"encoding failed: {last_line}")
    _log.info("made the %s clips in %.0f s", codec, time.monotonic() - started_at)


def _read(path: Path) -> Clip | None:
    """Read a clip; returns None if it is missing or damaged. A damaged file is deleted."""
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
        _log.warning("deleting the damaged clip %s (%s); it will be made again", path, error)
        path.unlink()
        return None
    if not rate * LOOP_SECONDS <= len(frames) <= rate * LOOP_SECONDS + 2 or keyframes[:1] != [0]:
        _log.warning(
            "deleting the incomplete clip %s (%d frames); it will be made again", path, len(frames)
        )
        path.unlink()
        return None
    return Clip(tuple(frames), tuple(keyframes))
