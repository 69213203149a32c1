"""Clips made by the project: a moving pattern and a speech-like sound, encoded once.

A call sends a clip again and again without encoding, so that eleven calls cost a quarter of a
core and the sender's own encoder never limits what is measured. Clips are ordinary WebM files
in the user's cache (`clip_directory`); without a writable cache they are made in memory.
"""

from __future__ import annotations

import fcntl
import io
import logging
import os
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from jharnet_monitor.rtc.profiles import (
    AUDIO_BITS_PER_SECOND,
    AUDIO_FRAMES_PER_SECOND,
    FRAMES_PER_SECOND,
    Rung,
    rungs_below,
)

_log = logging.getLogger(__name__)

LOOP_SECONDS = 4
LOOP_FRAMES = LOOP_SECONDS * FRAMES_PER_SECOND
EDITION = 3
"""Part of the file name: raise it when the pattern or the encoding changes."""
SAMPLE_RATE = 48_000
_SAMPLES = SAMPLE_RATE // AUDIO_FRAMES_PER_SECOND

Picture = npt.NDArray[np.uint8]


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


_made: dict[str, Clip] = {}
_making = threading.Lock()


def video_clip(step: Rung) -> Clip:
    """The VP8 clip of a rung. Blocks for up to a second when it has to be made first."""
    return _clip(f"{step.height}p-{step.video // 1000}k", lambda sink: _encode_video(sink, step))


def audio_clip() -> Clip:
    """The Opus clip: 20 ms a frame. Blocks while it has to be made first."""
    return _clip(f"speech-{AUDIO_BITS_PER_SECOND // 1000}k", _encode_audio)


def prepare(top: Rung) -> None:
    """Have every clip at hand that a call from `top` downwards may send; seconds the first time."""
    audio_clip()
    for step in rungs_below(top):
        if step.video:
            video_clip(step)


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


def _clip(name: str, encode: Any) -> Clip:
    with _making:
        if name not in _made:
            _made[name] = _cached(name, encode)
        return _made[name]


def _cached(name: str, encode: Any) -> Clip:
    directory = clip_directory()
    if directory is not None:
        try:
            return _from_directory(directory, f"{name}-{EDITION}.webm", encode)
        except OSError as error:
            _log.info("no clip cache in %s (%s): the clip is made in memory", directory, error)
    sink = io.BytesIO()
    encode(sink)
    return _read(io.BytesIO(sink.getvalue()))


def _from_directory(directory: Path, name: str, encode: Any) -> Clip:
    """Read the clip, or make it while every other process waits for it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / name
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            try:
                return _read(path)
            except (av.FFmpegError, ValueError) as error:
                _log.warning("the clip %s is damaged (%s) and is made anew", path, error)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as sink:
            encode(sink)
        unfinished.replace(path)
        return _read(path)


def _read(source: Path | io.BytesIO) -> Clip:
    """The frames of a WebM file; raises `ValueError` where it is not a whole loop."""
    frames: list[bytes] = []
    keyframes: list[int] = []
    with av.open(str(source) if isinstance(source, Path) else source, "r") as container:
        is_video = bool(container.streams.video)
        for packet in container.demux(container.streams[0]):
            if packet.size:
                if packet.is_keyframe:
                    keyframes.append(len(frames))
                frames.append(bytes(packet))
    rate = FRAMES_PER_SECOND if is_video else AUDIO_FRAMES_PER_SECOND
    if not rate * LOOP_SECONDS <= len(frames) <= rate * LOOP_SECONDS + 2 or keyframes[0] != 0:
        raise ValueError(f"{len(frames)} frames")
    return Clip(tuple(frames), tuple(keyframes))


def _encode_video(sink: io.IOBase, step: Rung) -> None:
    """VP8 at a constant rate, a keyframe every second, as a real-time sender would encode."""
    rate = step.video
    options = {
        "deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0", "error-resilient": "1",
        "bufsize": str(rate // 2), "minrate": str(rate), "maxrate": str(rate),
        "undershoot-pct": "100", "overshoot-pct": "15", "keyint_min": str(FRAMES_PER_SECOND),
        "max-intra-rate": "300",  # per cent of a mean frame: keyframes make no bursts
    }  # fmt: skip
    with av.open(sink, "w", format="webm") as container:
        stream: Any = container.add_stream("libvpx", FRAMES_PER_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = step.width, step.height, "yuv420p"
        stream.bit_rate = rate
        stream.gop_size = FRAMES_PER_SECOND
        stream.codec_context.qmin, stream.codec_context.qmax = 2, 63
        stream.codec_context.thread_count = 1
        chroma = np.full((step.height // 2, step.width), 128, np.uint8)
        for index in range(2 * LOOP_FRAMES):
            luma = _picture(step.height, step.width, index)
            frame = av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            for packet in stream.encode(frame):
                if packet.pts >= LOOP_FRAMES:  # the second time round the rate is steady
                    container.mux(packet)


def _picture(height: int, width: int, index: int) -> Picture:
    """A slowly drifting backdrop, and a textured head and hand that move before it."""
    rows = np.arange(height, dtype=np.float32)[:, None] / height
    columns = np.arange(width, dtype=np.float32)[None, :] / height
    turn = 2 * np.pi * index / LOOP_FRAMES
    luma = 110 + 40 * np.sin(9 * columns + np.sin(turn)) + 30 * np.cos(7 * rows - np.cos(turn))
    grain = np.random.default_rng(7).integers(-16, 16, (height // 2, height // 2))
    for speed, size, depth in ((1, height // 2, 0.35), (3, height // 4, 0.65)):
        top = int((height - size) * (depth + 0.15 * np.sin(speed * turn)))
        left = int((width - size) * (0.5 + 0.4 * np.sin(speed * turn + depth)))
        luma[top : top + size, left : left + size] += np.roll(grain, index, 1)[:size, :size]
    picture: Picture = np.clip(luma, 16, 235).astype(np.uint8)
    return picture


def _encode_audio(sink: io.IOBase) -> None:
    """Opus at a constant rate: every 20 ms a packet of the same size, no silence suppression."""
    options = {"application": "voip", "vbr": "off", "frame_duration": "20"}
    with av.open(sink, "w", format="webm") as container:
        stream: Any = container.add_stream("libopus", SAMPLE_RATE, options=options)
        stream.bit_rate = AUDIO_BITS_PER_SECOND
        stream.layout, stream.format = "mono", "s16"
        sound = _speech(LOOP_SECONDS)
        for start in range(0, len(sound), _SAMPLES):
            frame = av.AudioFrame.from_ndarray(
                sound[None, start : start + _SAMPLES], format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _speech(seconds: int) -> npt.NDArray[np.int16]:
    """Voiced syllables, four a second: a gliding pitch with harmonics shaped by two formants."""
    time = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
    pitch = 130 + 25 * np.sin(2 * np.pi * time / 2)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    formants = (500 + 200 * np.sin(np.pi * time), 1500 + 500 * np.cos(np.pi * time))
    sound = np.zeros_like(time)
    for harmonic in range(1, 24):
        gain = sum(np.exp(-(((harmonic * pitch - f) / 180) ** 2)) for f in formants)
        sound += (gain + 0.02) * np.sin(harmonic * phase)
    envelope = np.sin(np.pi * ((4 * time) % 1)) ** 2
    sound *= envelope / np.abs(sound).max()
    return (sound * 20_000).astype(np.int16)
