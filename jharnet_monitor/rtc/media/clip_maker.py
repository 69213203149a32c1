"""Encodes the clips that are missing in a directory.

Run as `python -m jharnet_monitor.rtc.media.clip_maker DIRECTORY CODEC`. It runs as a subprocess
because encoding takes seconds of CPU time and 100 MB, which would disturb a process that measures.
"""

from __future__ import annotations

import io
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np
import numpy.typing as npt
import psutil

from jharnet_monitor.profiles import (
    AUDIO_BITS_PER_SECOND,
    AUDIO_FRAMES_PER_SECOND,
    FRAMES_PER_SECOND,
    RUNGS,
    Rung,
)
from jharnet_monitor.rtc.codecs import Codec
from jharnet_monitor.rtc.media.clips import AUDIO_CLIP, LOOP_FRAMES, LOOP_SECONDS, video_name

SAMPLE_RATE = 48_000
_SAMPLES_PER_FRAME = SAMPLE_RATE // AUDIO_FRAMES_PER_SECOND

Picture = npt.NDArray[np.uint8]


def make_all(directory: Path, codec: Codec) -> None:
    """Write each clip that does not exist yet, atomically, and print its name."""
    for rung in RUNGS:
        name = video_name(rung, codec) if rung.video else AUDIO_CLIP
        if (directory / name).exists():
            continue
        sink = io.BytesIO()
        if rung.video:
            encode_video(sink, rung, codec)
        else:
            encode_audio(sink)
        unfinished = (directory / name).with_suffix(".part")
        unfinished.write_bytes(sink.getvalue())
        unfinished.replace(directory / name)
        print(name, flush=True)


def _vp8_options(rate: int) -> dict[str, str]:
    """libvpx options for a constant rate in bit/s."""
    return {
        "deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0", "error-resilient": "1",
        "bufsize": str(rate // 2), "minrate": str(rate), "maxrate": str(rate),
        "undershoot-pct": "100", "overshoot-pct": "15", "keyint_min": str(FRAMES_PER_SECOND),
        "max-intra-rate": "300",  # per cent of a mean frame, so that keyframes are no bursts
        "qmin": "2", "qmax": "63",
    }  # fmt: skip


def _h264_options(rate: int) -> dict[str, str]:
    """libx264 options for a constant rate in bit/s, with one slice per frame.

    The short VBV buffer keeps a keyframe below the size of three mean frames.
    """
    x264_params = {
        "keyint": FRAMES_PER_SECOND, "min-keyint": FRAMES_PER_SECOND, "scenecut": 0, "bframes": 0,
        "ref": 1, "threads": 1, "slices": 1, "repeat-headers": 1, "qcomp": 0.0, "ipratio": 1.1,
        "vbv-maxrate": rate // 1000, "vbv-bufsize": rate // 5000,
        "filler": 1,  # a constant rate, without the SEI message that HRD adds to each frame
    }  # fmt: skip
    return {
        "profile": "baseline", "level": "31", "preset": "veryfast", "tune": "zerolatency",
        "x264-params": ":".join(f"{name}={value}" for name, value in x264_params.items()),
    }  # fmt: skip


def encode_video(sink: BinaryIO, rung: Rung, codec: Codec) -> None:
    """Encode a rung's clip with a constant rate and a keyframe every second."""
    if codec == "vp8":
        container_format, encoder, options = "webm", "libvpx", _vp8_options(rung.video)
    else:
        container_format, encoder, options = "h264", "libx264", _h264_options(rung.video)
    with av.open(sink, "w", format=container_format) as container:
        stream: Any = container.add_stream(encoder, FRAMES_PER_SECOND, options=options)
        stream.width, stream.height, stream.pix_fmt = rung.width, rung.height, "yuv420p"
        stream.bit_rate = rung.video
        stream.gop_size = FRAMES_PER_SECOND
        stream.codec_context.thread_count = 1
        chroma = np.full((rung.height // 2, rung.width), 128, np.uint8)
        for index in range(2 * LOOP_FRAMES):
            luma = picture(rung.height, rung.width, index)
            frame = av.VideoFrame.from_ndarray(np.vstack([luma, chroma]), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FRAMES_PER_SECOND)
            for packet in stream.encode(frame):
                if packet.pts >= LOOP_FRAMES:  # the encoder's rate is steady in the second loop
                    container.mux(packet)


def picture(height: int, width: int, index: int, grain: int = 16) -> Picture:
    """The luma plane of one frame: a slowly drifting background, a moving head and hand.

    `grain` is the amplitude of their texture in steps of luma; a larger one needs more bits.
    """
    rows = np.arange(height, dtype=np.float32)[:, None] / height
    columns = np.arange(width, dtype=np.float32)[None, :] / height
    turn = 2 * np.pi * index / LOOP_FRAMES
    luma = 110 + 40 * np.sin(9 * columns + np.sin(turn)) + 30 * np.cos(7 * rows - np.cos(turn))
    texture = np.random.default_rng(7).integers(-grain, grain, (height // 2, height // 2))
    for speed, size, depth in ((1, height // 2, 0.35), (3, height // 4, 0.65)):
        top = int((height - size) * (depth + 0.15 * np.sin(speed * turn)))
        left = int((width - size) * (0.5 + 0.4 * np.sin(speed * turn + depth)))
        luma[top : top + size, left : left + size] += np.roll(texture, index, 1)[:size, :size]
    bounded: Picture = np.clip(luma, 16, 235).astype(np.uint8)
    return bounded


def encode_audio(sink: BinaryIO) -> None:
    """Encode the Opus clip: packets of 20 ms and equal size, without DTX."""
    options = {"application": "voip", "vbr": "off", "frame_duration": "20"}
    with av.open(sink, "w", format="webm") as container:
        stream: Any = container.add_stream("libopus", SAMPLE_RATE, options=options)
        stream.bit_rate = AUDIO_BITS_PER_SECOND
        stream.layout, stream.format = "mono", "s16"
        sound = _speech(LOOP_SECONDS)
        for start in range(0, len(sound), _SAMPLES_PER_FRAME):
            frame = av.AudioFrame.from_ndarray(
                sound[None, start : start + _SAMPLES_PER_FRAME], format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = SAMPLE_RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _speech(seconds: int) -> npt.NDArray[np.int16]:
    """Speech-like mono samples: four syllables a second, harmonics shaped by two formants."""
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


if __name__ == "__main__":
    # measurements on this machine take precedence
    if sys.platform == "win32":
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        psutil.Process().nice(10)
    make_all(Path(sys.argv[1]), cast(Codec, sys.argv[2]))
