"""Tracks that give out the frames of a clip, each when its time comes."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamTrack

from jharnet_monitor.profiles import Rung
from jharnet_monitor.rtc.media.clips import Clip

_BEHIND = 0.2
"""Seconds behind schedule at which frames are left out instead of sent in a rush."""


class ClipTrack(MediaStreamTrack):
    """Plays a clip for ever. What `recv` gives are encoded packets, which aiortc sends as such."""

    def __init__(self, kind: str, clip: Clip | None, frames_per_second: int, clock_rate: int):
        super().__init__()
        self.kind = kind
        self.rung: Rung | None = None
        """What the frame given last belongs to."""
        self.left_out = 0.0
        """Frames that were not given out because this computer was too late for them."""
        self._clip = clip
        self._next_rung: Rung | None = None
        self._interval = 1 / frames_per_second
        self._clock_rate = clock_rate
        self._index = 0
        self._playing = asyncio.Event()
        if clip is not None:
            self._playing.set()
        self._started_at: float | None = None
        self._due = 0.0

    def play(self, clip: Clip, step: Rung | None = None) -> None:
        """Go on with this clip, from its first frame, which is a keyframe."""
        self._clip, self._next_rung, self._index = clip, step, 0
        self._playing.set()

    def pause(self) -> None:
        """Give out nothing until `play`."""
        self._playing.clear()

    def jump_to_keyframe(self) -> None:
        """Let the next frame be one that stands alone (a picture loss indication asks for it)."""
        if self._clip is not None:
            self._index = self._clip.next_keyframe(self._index % len(self._clip.frames))

    async def recv(self) -> av.Packet[Any]:
        """The next encoded frame, when it is due; its time stamps follow the schedule."""
        while True:
            paused = not self._playing.is_set()
            await self._playing.wait()
            now = time.monotonic()
            if self._started_at is None:
                self._started_at = self._due = now
            else:
                self._due += self._interval
                if paused or now - self._due > _BEHIND:
                    late = max(0.0, now - self._due)
                    self.left_out += 0.0 if paused else late / self._interval
                    self._due += late
            if self._due > now:
                await asyncio.sleep(self._due - now)
            if self._playing.is_set() and self._clip is not None:
                break
        frames = self._clip.frames
        packet: av.Packet[Any] = av.Packet(frames[self._index % len(frames)])
        packet.pts = round((self._due - self._started_at) * self._clock_rate)
        packet.time_base = Fraction(1, self._clock_rate)
        self._index += 1
        self.rung = self._next_rung
        return packet
