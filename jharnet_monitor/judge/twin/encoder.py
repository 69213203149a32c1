"""What a client of a call sends: its video at each rate, its audio. Pure.

Arrays hold one value a lane.
"""

from __future__ import annotations

import numpy as np

from jharnet_monitor.judge.twin.clients import Client
from jharnet_monitor.judge.twin.path import Flags, Floats

FRAMES_PER_SECOND = 30
LEAST_VIDEO = 37e3
"""Least bit/s that a client sends, however low its estimate of the line: its target is then 30
kbit/s (libwebrtc), which VP8 exceeds at 180 lines (measured)."""
PACKET_OVERHEAD = 72
"""Bytes in addition to the coded picture: IPv4, UDP, RTP with extensions, descriptor, SRTP tag
(measured: 28 bytes of RTP)."""
PACKET_PAYLOAD = 1140
AUDIO_PACKET = 88.0
"""Bytes of an IP packet with 20 ms of speech as the reference client sends it: 66 of headers."""
_RESERVED_FOR_AUDIO = 52e3
"""bit/s of the target that is not given to the video: 32 kbit/s of audio are allocated, and their
headers, although speech takes less. Fitted."""


HEIGHTS = (180, 270, 360, 540, 720, 1080)
"""libwebrtc scales in turn by 2/3 and 3/4."""
_PIXELS = np.array([h * h * 16 / 9 for h in HEIGHTS])
_FIRST_HEIGHT = 2
"""360 lines at the start rate of 300 kbit/s."""
_TOO_FEW_BITS = 0.0122
"""Bits a pixel at which VP8's quantiser reaches the quality scaler's upper limit, 95 of 127, with
the reference picture. Fitted."""
_PLENTY_OF_BITS = np.array([0.034, 0.0278, 0.0285, 0.0236, 0.0236, np.inf])
"""The same for its lower limit, 29 of 127, at each height. Fitted."""
_DOWN_SECONDS, _UP_SECONDS = 3.5, 9.0
"""How long the quantiser must be beyond a limit. Fitted."""
_UNDERSHOOT = 0.94
"""The encoder's rate relative to its target: the client allows for frames that are larger than
requested. Fitted."""
_PROTECTION_SECONDS, _MOST_PROTECTION = 1.0, 0.5
"""Over which the rate of retransmissions is averaged, and the largest share of the video's rate
that is set aside for them (libwebrtc, `FecControllerDefault`)."""
_SIZE_SPREAD = 0.25
"""Standard deviation of the logarithm of a frame's size. Fitted."""
_KEY_FACTOR, _KEY_BITS = 5.0, 0.15
"""A key frame's size over that of another (libvpx allows 9 with a buffer of 600 ms), and the bits a
pixel that it takes at least."""


class Encoder:
    """The video encoders of all lanes: they follow the target in rate and picture height."""

    def __init__(self, client: Client, lanes: int, rng: np.random.Generator) -> None:
        self._client = client
        self._rng = rng
        fitting = [i for i, height in enumerate(HEIGHTS) if height <= client.max_height]
        self._most = max(fitting, default=0)
        self.step = np.full(lanes, min(_FIRST_HEIGHT, self._most))
        self.rate = np.full(lanes, LEAST_VIDEO)
        self._poor, self._rich = np.zeros(lanes), np.zeros(lanes)
        self._debt = np.zeros(lanes)
        self._repeated = np.zeros(lanes)
        """bit/s of retransmissions."""
        self._average = np.full(lanes, 200e3)
        self._key_next = np.ones(lanes, bool)

    @property
    def height(self) -> Floats:
        """Lines of the picture."""
        return np.asarray(np.array(HEIGHTS, float)[self.step])

    def request_key(self, active: Flags) -> None:
        """Send a key frame next."""
        self._key_next |= active

    def set_target(self, target: Floats, repeated: Floats, seconds: float) -> None:
        """Set a new target of the congestion control, `seconds` after the last one. `repeated` bits
        were retransmitted meanwhile; their rate is subtracted from that of the video.
        """
        share = 1 - np.exp(-seconds / _PROTECTION_SECONDS)
        self._repeated += share * (repeated / seconds - self._repeated)
        overhead = self._repeated / np.maximum(self._repeated + self.rate, 1.0)
        for_video = np.maximum(0.0, target - _RESERVED_FOR_AUDIO)
        packets = FRAMES_PER_SECOND * np.maximum(
            1.0, for_video / 8 / FRAMES_PER_SECOND / (PACKET_PAYLOAD + PACKET_OVERHEAD) + 0.5
        )
        coded = for_video - packets * PACKET_OVERHEAD * 8
        least = min(LEAST_VIDEO, self._client.max_video)
        self.rate = np.clip(
            _UNDERSHOOT * coded * (1 - np.minimum(overhead, _MOST_PROTECTION)),
            least,
            self._client.max_video,
        )
        self._average += (1 - np.exp(-seconds / 2)) * (self.rate - self._average)
        bits = self._average / FRAMES_PER_SECOND / _PIXELS[self.step]
        self._poor = np.where(bits < _TOO_FEW_BITS, self._poor + seconds, 0.0)
        self._rich = np.where(bits > _PLENTY_OF_BITS[self.step], self._rich + seconds, 0.0)
        down = (self._poor > _DOWN_SECONDS) & (self.step > 0)
        up = (self._rich > _UP_SECONDS) & (self.step < self._most)
        self.step = self.step + up - down
        self._poor[down], self._rich[up] = 0.0, 0.0
        self._key_next |= up | down

    def frame(self) -> tuple[Floats, Flags]:
        """Bytes of the next coded frame, and which are key frames."""
        mean = self.rate / 8 / FRAMES_PER_SECOND
        key = self._key_next.copy()
        self._key_next[:] = False
        spread = np.exp(_SIZE_SPREAD * self._rng.standard_normal(len(mean)) - _SIZE_SPREAD**2 / 2)
        key_size = np.maximum(_KEY_FACTOR * mean, _KEY_BITS / 8 * _PIXELS[self.step])
        size = np.where(key, key_size, mean * spread)
        # A rate controller compensates an oversized frame over the next frames.
        paid = np.clip(self._debt * 0.1, -0.3 * mean, 0.6 * mean)
        size = np.maximum(np.where(key, size, size - paid), 60.0)
        self._debt = np.clip(self._debt + size - mean, -5 * mean, 15 * mean)
        return size, key
