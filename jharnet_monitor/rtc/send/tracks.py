"""A media track that plays the encoded frames of a clip on schedule."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import Any

import av
from aiortc import MediaStreamTrack

from jharnet_monitor.profiles import Rung
from jharnet_monitor.rtc.media.clips import Clip

_MAX_DELAY = {"audio": 0.2, "video": 0.05}
"""Seconds behind schedule from which frames are skipped instead of sent in a burst: one of pictures
would fill the queue of a line that just carries them, and the line would be blamed for it."""


class ClipTrack(MediaStreamTrack):
    """Plays a clip in a loop. `recv` returns encoded packets, which aiortc sends unchanged."""

    def __init__(self, kind: str, clip: Clip | None, frames_per_second: int, clock_rate: int):
        """`kind` is `audio` or `video`; without a clip the track waits for `play`.

        `clock_rate` is the RTP clock of the stream in Hz.
        """
        super().__init__()
        self.kind = kind
        self.rung: Rung | None = None
        """The rung of the latest frame that `recv` returned."""
        self.skipped_frames = 0.0
        """Frames that were skipped because this host was too slow."""
        self._clip = clip
        self._next_rung: Rung | None = None
        self._interval = 1 / frames_per_second
        self._clock_rate = clock_rate
        self._index = 0
        self._playing = asyncio.Event()
        if clip is not None:
            self._playing.set()
        self._started_at: float | None = None
        self._due_at = 0.0

    def play(self, clip: Clip, rung: Rung | None = None) -> None:
        """Continue with this clip from its first frame, which is a keyframe."""
        self._clip, self._next_rung, self._index = clip, rung, 0
        self._playing.set()

    def pause(self) -> None:
        """Return no frames until `play` is called."""
        self._playing.clear()

    def jump_to_keyframe(self) -> None:
        """Continue at the next keyframe, in answer to a PLI (RFC 4585, 6.3.1)."""
        if self._clip is not None:
            self._index = self._clip.next_keyframe(self._index % len(self._clip.frames))

    async def recv(self) -> av.Packet[Any]:
        """Wait until the next frame is due and return it, timestamped by the schedule."""
        while True:
            was_paused = not self._playing.is_set()
            await self._playing.wait()
            now = time.monotonic()
            if self._started_at is None:
                self._started_at = self._due_at = now
            else:
                self._due_at += self._interval
                if was_paused or now - self._due_at > _MAX_DELAY[self.kind]:
                    delay = max(0.0, now - self._due_at)
                    self.skipped_frames += 0.0 if was_paused else delay / self._interval
                    self._due_at += delay
            if self._due_at > now:
                await asyncio.sleep(self._due_at - now)
            if self._playing.is_set() and self._clip is not None:
                break
        frames = self._clip.frames
        packet: av.Packet[Any] = av.Packet(frames[self._index % len(frames)])
        packet.pts = round((self._due_at - self._started_at) * self._clock_rate)
        packet.time_base = Fraction(1, self._clock_rate)
        self._index += 1
        self.rung = self._next_rung
        return packet
