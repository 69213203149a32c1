"""A simulated call: two clients on a line, many runs at once. Pure and seeded.

Lanes come in pairs: lane 2n is what the office receives in run n (`down`), lane 2n + 1 what it
sends (`up`). Time goes in cycles of 100 ms with three frames, five packets of
audio and two feedbacks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from jharnet_monitor.judge.twin.clients import REFERENCE, Client
from jharnet_monitor.judge.twin.control import FEEDBACK_SECONDS, Control, Report
from jharnet_monitor.judge.twin.encoder import (
    AUDIO_PACKET,
    PACKET_OVERHEAD,
    PACKET_PAYLOAD,
    Encoder,
)
from jharnet_monitor.judge.twin.line import UNLIMITED, DirectionModel, LineModel
from jharnet_monitor.judge.twin.path import Counts, Flags, Floats, Path
from jharnet_monitor.judge.twin.picture import Picture, SentFrame
from jharnet_monitor.judge.twin.voice import Voice

RUNS = 32
WARM_UP, LONG_WARM_UP = 30.0, 65.0
"""Seconds before the window; the longer one on a line that is narrower than `NARROW`."""
NARROW = 1.2e6
WINDOW = 30.0
OPEN_GAP = 0.75
"""Seconds without a new picture at the end from which it counts as frozen."""
_CYCLE = 2 * FEEDBACK_SECONDS
_EVENTS = (
    ("frame", 0.0), ("audio", 0.007), ("audio", 0.027), ("frame", 1 / 30), ("audio", 0.047),
    ("feedback", FEEDBACK_SECONDS), ("frame", 2 / 30), ("audio", 0.0671), ("audio", 0.087),
)  # fmt: skip
"""What happens in a cycle, besides the feedback at its end; seconds."""
_FEEDBACK_RATE = 16e3
"""bit/s of feedback: 20 reports/s of 100 bytes at most."""
_REPORTS_RATE = 2e3
"""bit/s of sender and receiver reports and of connectivity checks."""
_REPEATED_FRAMES = 2
"""Frames of which a lane retransmits packets at most at one event."""
_LIMITER_SECONDS = 0.5
"""Window within which retransmissions are limited to the target rate (`RateLimiter`)."""
_REMEMBERED = 128
"""Reports in flight that are kept: more than the longest round trip."""
_PROBE_PACKETS, _PROBE_SECONDS = 5, 0.015
"""Packets and length of a probe (Chromium)."""
_BURST_SECONDS, _PACE = 0.040, 2.5
"""The pacer sends what is due within 40 ms at once (Chromium), at 2.5 times the target."""

_FLIGHT = 1240.0
"""Bytes that must find room in the queue towards the office, so that two packets of a server's DTLS
flight get through at once (RFC 6347, 4.2.4: what is lost is sent again as a whole). Chromium
connected on none of 9 links for tuning with less than 1220 bytes, and on all with 1260 or more but
one, whose other direction a transfer fills. Fitted."""

_KNOWN_QUEUE = 0.5
"""Doubt up to which a queue was seen full, so that its depth is known."""


@dataclass(frozen=True, slots=True)
class ReceivedQuality:
    """One direction of one run, by the statistics of its receiver."""

    concealed: float
    frozen: float
    frames: float
    height: float
    rate: float
    """bit/s of video, without headers."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: what arrived at the office and from it."""

    down: ReceivedQuality
    up: ReceivedQuality


def _lanes(line: LineModel, runs: int, rng: np.random.Generator) -> dict[str, Floats]:
    """The line's figures for every lane, drawn from their uncertainty."""
    columns = {}
    for field in fields(DirectionModel):
        pair = [getattr(line.down, field.name), getattr(line.up, field.name)]
        columns[field.name] = np.tile(np.array(pair, float), runs)
    for name in ("rate", "queue", "loss"):
        doubt = columns.pop(f"{name}_doubt")
        columns[name] = columns[name] * np.exp(doubt * rng.standard_normal(2 * runs))
    known = [way.queue_doubt <= _KNOWN_QUEUE and not way.bucket for way in (line.down, line.up)]
    short = columns["queue"] * columns["rate"] < 8 * _FLIGHT
    columns["short"] = short & np.tile(known, runs)
    columns["rate"] = np.minimum(columns["rate"], UNLIMITED)
    columns["loss"] = np.minimum(columns["loss"], 0.9)
    columns["gone"] = np.full(2 * runs, line.gone)
    columns["every"] = np.full(2 * runs, line.every)
    return columns


def warm_up(line: LineModel) -> float:
    """Seconds before the window, after which a client has reached its picture size."""
    narrow = any(
        direction.rate - direction.others < NARROW or direction.transfer_on > 0
        for direction in (line.down, line.up)
    )
    return LONG_WARM_UP if narrow else WARM_UP


def simulate(
    line: LineModel, seed: int, client: Client = REFERENCE, runs: int = RUNS
) -> Sequence[Run]:
    """Hold `runs` calls over the line."""
    return simulate_each([line], warm_up(line), seed, client, runs)[0]


def simulate_each(
    lines: Sequence[LineModel],
    settle: float,
    seed: int,
    client: Client = REFERENCE,
    runs: int = RUNS,
) -> list[Sequence[Run]]:
    """Hold `runs` calls over each of the lines, all at once; the window begins after `settle` s."""
    rng = np.random.default_rng(seed)
    parts = [_lanes(line, runs, rng) for line in lines]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    call = _Call(columns, client, (settle, settle + WINDOW), rng)
    call.run()
    shown = call.shown()
    return [shown[n * runs : (n + 1) * runs] for n in range(len(lines))]


class _Call:
    def __init__(
        self,
        columns: dict[str, Floats],
        client: Client,
        window: tuple[float, float],
        rng: np.random.Generator,
    ) -> None:
        self.lanes = len(columns["rate"])
        self.window, self.rng, self.client = window, rng, client
        # Feedback of the other direction takes up to 5 % of the rate (transport-wide feedback).
        columns = columns | {"cross": columns["others"]}
        columns["others"] = columns["others"] + np.minimum(
            _FEEDBACK_RATE, _REPORTS_RATE + 0.05 * columns["rate"]
        )
        self.path = Path(columns, rng)
        self.short = columns["short"] > 0
        self.control = Control(self.lanes)
        self.encoder = Encoder(client, self.lanes, rng)
        self.picture = Picture(self.lanes, window, rng)
        self.voice = Voice(self.lanes, window)
        self.other = np.arange(self.lanes) ^ 1
        self.jitter_mean = columns["jitter"]
        self._history: list[Report] = []
        self._clear()
        self.phase = rng.random(self.lanes) * 0.004
        self.paced = np.zeros(self.lanes)
        self.repeated = np.zeros(self.lanes)
        self.recently = np.zeros(self.lanes)
        """Bits that were retransmitted within the limiter's window."""
        self.arrived_last, self.arrived_before = np.zeros(self.lanes), np.zeros(self.lanes)

    def _clear(self) -> None:
        self.packets = np.zeros(self.lanes, np.int64)
        self.lost = np.zeros(self.lanes, np.int64)
        self.bits, self.acked = np.zeros(self.lanes), np.zeros(self.lanes)

    def _delays(self) -> tuple[Floats, Floats]:
        """The current delay of the opposite direction, and the round trip."""
        ahead = self.path.delay + self.path.backlog
        back = ahead[self.other]
        return back, ahead + back

    def run(self) -> None:
        """From the start to the end of the window."""
        cycles = round(self.window[1] / _CYCLE)
        probed_at = np.ceil((0.25 + 2 * self.path.delay) / _CYCLE).astype(int)
        for cycle in range(cycles):
            start = cycle * _CYCLE
            back, trip = self._delays()
            for kind, offset in _EVENTS:
                now = start + offset + self.phase
                if kind == "feedback":
                    self._feedback(start + offset, trip)
                    continue
                for _ in range(_REPEATED_FRAMES):
                    if not self._repeat(now, trip):
                        break
                if kind == "frame":
                    self._frame(now, back, trip)
                else:
                    self._audio(now)
                self.picture.show(now, trip, back)
            if cycle <= probed_at.max():
                self._probe(probed_at == cycle)
            self._feedback(start + _CYCLE, trip)
            self.recently *= 1 - _CYCLE / _LIMITER_SECONDS
        self.picture.close(OPEN_GAP)

    def _probe(self, active: Flags) -> None:
        """Apply the probes at the start of a call, which are short enough to fit a queue or
        bucket. Jitter stretches a probe, unless its first packet is the latest.
        """
        free = np.maximum(self.path.rate * (1 - self.path.others_share), 50e3)
        measured = np.minimum(free * 0.95, 3 * self.client.max_video)
        noise = np.exp(0.15 * self.rng.standard_normal(self.lanes))
        first, last = self.rng.random(self.lanes), self.rng.random((_PROBE_PACKETS - 1, self.lanes))
        spread = 2 * self.jitter_mean * np.maximum(0.0, last.max(axis=0) - first)
        blurred = measured / (1 + spread / _PROBE_SECONDS)
        self.control.probe(np.maximum(blurred * noise, 60e3), active)

    def _repeat(self, now: Floats, trip: Floats) -> bool:
        """Retransmit the due packets of one frame; returns whether there were any."""
        allowed = self.recently < self.control.target * _LIMITER_SECONDS
        sending = (self.path, self._pace(), allowed)
        count, lost, bits = self.picture.retransmit(now, trip, *sending)
        self.recently += bits
        arrived = np.asarray(bits * (1 - lost / np.maximum(count, 1)), float)
        self.repeated += bits
        self._count(count, lost, bits, arrived)
        return bool(count.any())

    def _pace(self) -> Floats:
        """bit/s at which packets leave."""
        return np.asarray(_PACE * np.maximum(self.control.target, 60e3))

    def _frame(self, now: Floats, back: Floats, trip: Floats) -> None:
        self.encoder.request_key(self.picture.keyframe_requested_at <= now)
        self.picture.keyframe_requested_at = np.where(
            self.picture.keyframe_requested_at <= now, np.inf, self.picture.keyframe_requested_at
        )
        size, key = self.encoder.frame()
        count = np.ceil(size / PACKET_PAYLOAD).astype(np.int64)
        packet = size / count + PACKET_OVERHEAD
        # What exceeds the pacer's burst leaves at its rate.
        pace = self._pace()
        bits = count * packet * 8
        waiting = np.maximum(0.0, self.paced - now)
        span = np.maximum(0.0, waiting + bits / pace - _BURST_SECONDS)
        self.paced = np.maximum(self.paced, now) + bits / pace
        span = np.minimum(span, bits / pace)
        leaves = now + np.maximum(0.0, waiting - _BURST_SECONDS)
        sent = self.path.send(leaves, count, packet, span)
        self.picture.sent_frame(SentFrame(now, key, sent, packet, self.encoder.height, back))
        share = sent.arrived / count
        self.picture.arrived(float(now.mean()), size * 8 * share)
        active = sent.arrived > 0
        self.control.slope.add(leaves + span, sent.last_arrival, active)
        self.arrived_last = np.where(active, sent.last_arrival, self.arrived_last)
        self._count(count, sent.lost, bits, bits * share)

    def _audio(self, now: Floats) -> None:
        one = np.ones(self.lanes, np.int64)
        sent = self.path.send(now, one, np.full(self.lanes, AUDIO_PACKET))
        active = sent.arrived > 0
        self.voice.sent(now, sent.last_arrival, active)
        self.control.slope.add(now, sent.last_arrival, active)
        self.arrived_last = np.where(active, sent.last_arrival, self.arrived_last)
        bits = np.full(self.lanes, AUDIO_PACKET * 8)
        self._count(one, sent.lost, bits, bits * active)

    def _count(self, packets: Counts, lost: Counts, bits: Floats, acked: Floats) -> None:
        self.packets += packets
        self.lost += lost
        self.bits += bits
        self.acked += acked

    def _feedback(self, now: float, trip: Floats) -> None:
        """Send this cycle's report, and deliver an earlier one to the sender."""
        slope = self.control.slope
        took = np.maximum(self.arrived_last - self.arrived_before, 0.0)
        self.arrived_before = self.arrived_last
        newest = Report(slope.overused, slope.underused, self.bits, self.acked, took)
        self._history.append(newest)
        del self._history[:-_REMEMBERED]
        self._clear()
        age = np.round(trip / FEEDBACK_SECONDS).astype(int)
        age = np.minimum(age, len(self._history) - 1)
        few = self._history[-1 - int(age.max()) :]
        got = Report.of(few, len(few) - 1 - age)
        # Lost reports, and those during an interruption, do not arrive.
        lost = np.minimum(0.9, self.path.loss[self.other])
        active = self.rng.random(self.lanes) >= lost
        active &= ~self.path.cut(np.full(self.lanes, now))
        self.control.feedback(now, got, trip, active)
        self.encoder.set_target(self.control.target, self.repeated, FEEDBACK_SECONDS)
        self.repeated = np.zeros(self.lanes)

    def shown(self) -> list[Run]:
        """The results of the runs, as counted by their receivers."""
        nothing = ReceivedQuality(concealed=1.0, frozen=1.0, frames=0.0, height=0.0, rate=0.0)
        short = self.short
        return [
            Run(nothing, nothing) if short[n] else Run(self._received(n), self._received(n + 1))
            for n in range(0, self.lanes, 2)
        ]

    def _received(self, lane: int) -> ReceivedQuality:
        """What the receiver of a lane counted in the window."""
        picture, seconds = self.picture, self.window[1] - self.window[0]
        return ReceivedQuality(
            concealed=float(self.voice.concealed[lane] / self.voice.total),
            frozen=float(min(1.0, picture.frozen[lane] / seconds)),
            frames=float(picture.frames[lane] / seconds),
            height=float(picture.lines[lane]),
            rate=float(picture.bits[lane] / seconds),
        )
