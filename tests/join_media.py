"""Pictures and sounds for Chromium's fake camera and microphone."""

from __future__ import annotations

import math
import random
import wave
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

WIDTH, HEIGHT = 640, 480
FRAMES_PER_SECOND = 10
RATE = 48_000
VOICE_SECONDS = 3.0
Wave = Callable[[float], float]
"""A sample, -1 to 1, by its time in seconds."""


def camera(path: Path, frames: int, luma: Callable[[int], bytes]) -> str:
    """Write a Y4M of grey frames, each as `luma(number)` has it; the option that uses it."""
    grey = bytes([128]) * (WIDTH * HEIGHT // 2)
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{FRAMES_PER_SECOND}:1 Ip C420\n".encode())
        for number in range(frames):
            file.write(b"FRAME\n" + luma(number) + grey)
    return f"--use-file-for-fake-video-capture={path}"


def _noise(number: int, levels: Sequence[int]) -> bytes:
    """Luma that is one of these levels, at random, at every point."""
    table = bytes(levels[value % len(levels)] for value in range(256))
    return random.Random(number).randbytes(WIDTH * HEIGHT).translate(table)


def black(number: int) -> bytes:
    """A covered lens: black with the noise of a sensor."""
    return _noise(number, (16, 17, 18, 19))


def still(number: int) -> bytes:
    """The same picture again and again."""
    row = bytes(column % 200 + 20 for column in range(WIDTH))
    return row * HEIGHT


def room(number: int) -> bytes:
    """A room in which nobody moves: only the noise of a sensor differs."""
    return _noise(number, (90, 91, 92))


def microphone(path: Path, seconds: float, sound: Wave) -> str:
    """Write a WAV; the option that uses it."""
    samples = array(
        "h",
        (
            round(32767 * max(-1.0, min(1.0, sound(n / RATE))))
            for n in range(int(seconds * RATE))
        ),
    )  # fmt: skip
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return f"--use-file-for-fake-audio-capture={path}"


def silence(at: float) -> float:
    """A microphone that is switched off."""
    return 0.0


def shout(at: float) -> float:
    """A voice far above the range: it is cut off."""
    return 4.0 * math.sin(2 * math.pi * 220 * at)


def voice(at: float) -> float:
    """A voice of ordinary loudness, with pauses."""
    return 0.1 * math.sin(2 * math.pi * 220 * at) * max(0.0, math.sin(2 * math.pi * at))


def voice_then_tone(at: float) -> float:
    """A voice, and then the page's tone as a loudspeaker brings it to the microphone.

    The tone becomes louder by 14 dB a second, so it is louder while the page plays than before,
    whenever that is: from 3.6 s on if the machine is idle, and seconds later on a busy one.
    """
    if at < VOICE_SECONDS:
        return voice(at)
    decibel = min(-6.0, -85.0 + 14.0 * (at - VOICE_SECONDS))
    return 10 ** (decibel / 20) * math.sin(2 * math.pi * 880 * at)
