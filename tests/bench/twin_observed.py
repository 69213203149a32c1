"""The line as a call of the product would observe it, on the emulator's own pipes, without a lab.

    python tests/bench/twin_observed.py [--runs N] [--only TEXT] [--json FILE]

Each direction is sent through `jharnet_monitor.lab.pipe.Pipe`, which the lab uses, with the
product's own ladder of rungs, and observed by the product's own code; then the twin answers. Links
with TCP transfers are left out, since nothing here answers like TCP. There are no retransmissions.
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from jharnet_monitor.judge.twin.arrivals import observe
from jharnet_monitor.judge.twin.estimate import line_of
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.observed_line import ObservedLine
from jharnet_monitor.judge.twin.predict import predict
from jharnet_monitor.judge.twin.trace import PacketColumns
from jharnet_monitor.lab.pipe import BLACKOUT, Pipe
from jharnet_monitor.lab.spec import LinkDirection
from jharnet_monitor.profiles import FRAMES_PER_SECOND, Rung, rung
from jharnet_monitor.rtc.send.ladder import Ladder, Progress
from tests.bench.chromium_collect import CROSS_SIZE
from tests.bench.chromium_conditions import Condition
from tests.bench.chromium_marks import hard_rows
from tests.bench.marks import finish, note, parser
from tests.bench.twin import PROCESSES, Link, chosen, true_line

SECONDS = 30.0
AUDIO_SECONDS, AUDIO_SIZE, PAYLOAD, OVERHEAD = 0.02, 164, 1296, 72
"""Seconds between packets of sound, and bytes: of the product's call (`profiles`)."""
BUNCH = 0.0004
"""Seconds between the packets of a frame as they leave."""
REPORT, DRAIN = 0.2, 1.0
"""Seconds between reports, and for which the video pauses at a change of rung."""
KEY_FACTOR, SPREAD = 4.0, 0.25


@dataclass
class Stream:
    """The packets of one stream so far."""

    sent: list[float] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    frame: list[float] = field(default_factory=list)

    def columns(self) -> PacketColumns:
        """The stream as the observer wants it."""
        none = np.zeros(0)
        at, frame = np.array(self.at), np.array(self.frame)
        got = np.where(at < 0, np.nan, at)
        return PacketColumns(frame, got, np.array(self.size, float), frame, none, none)


class Way:
    """One direction of a call through one pipe."""

    def __init__(self, name: str, condition: Condition, wanted: dict[str, Any]) -> None:
        policed = {}
        if wanted["bucket"] is not None:
            bucket = {"rate": wanted["rate"], "size": wanted["bucket"]}
            policed = {"rate": None, "bucket": bucket}
        self.pipe = Pipe(name, LinkDirection.model_validate(dict(wanted) | policed), 1)
        self.condition, self.random = condition, random.Random(name)
        self.audio, self.video = Stream(), Stream()
        self.ladder = Ladder(rung("720p"))

    def run(self) -> ObservedLine | None:
        """Hold the call, and observe it."""
        begin, cross_gap = 0.0, 0.0
        events: list[tuple[float, str]] = [
            (n * AUDIO_SECONDS, "audio") for n in range(int(SECONDS / AUDIO_SECONDS))
        ]
        events += [(0.5 + n / FRAMES_PER_SECOND + 0.003, "frame")
                   for n in range(int((SECONDS - 0.5) * FRAMES_PER_SECOND))]  # fmt: skip
        events += [(0.5 + n * REPORT, "report") for n in range(int(SECONDS / REPORT))]
        if self.condition.cross:
            cross_gap = CROSS_SIZE * 8 / (self.condition.cross * 1e6)
            events += [(begin + n * cross_gap, "cross") for n in range(int(SECONDS / cross_gap))]
        self._playing: Rung = self.ladder.rung
        self._paused_until, self._key = 0.0, True
        for now, kind in sorted(events):
            self._blackout(now)
            {"audio": self._audio, "frame": self._frame, "report": self._report,
             "cross": self._cross}[kind](now)  # fmt: skip
        return observe(self.audio.columns(), self.video.columns())

    def _blackout(self, now: float) -> None:
        if self.condition.blackout is not None:
            gone, every = self.condition.blackout
            self.pipe.blocked = BLACKOUT if now % every >= every - gone else 0

    def _cross(self, now: float) -> None:
        self.pipe.admit(now, CROSS_SIZE)

    def _audio(self, now: float) -> None:
        self._send(self.audio, now, now, AUDIO_SIZE)

    def _send(self, stream: Stream, now: float, frame: float, size: int) -> None:
        stream.sent.append(now)
        stream.at.append(self.pipe.admit(now, size))
        stream.size.append(size)
        stream.frame.append(frame)

    def _frame(self, now: float) -> None:
        if now < self._paused_until or not self._playing.video:
            return
        mean = self._playing.video / 8 / FRAMES_PER_SECOND
        size = mean * (KEY_FACTOR if self._key else self.random.lognormvariate(0, SPREAD))
        self._key = False
        packets = max(1, -(-int(size) // PAYLOAD))
        for number in range(packets):
            self._send(self.video, now + number * BUNCH, now, int(size / packets) + OVERHEAD)

    def _report(self, now: float) -> None:
        """What a receiver's report says that is written now, and the ladder's answer to it."""
        got = [n for n, at in enumerate(self.video.at) if 0 <= at <= now]
        if not got or now < self._paused_until:
            return
        packets = got[-1] + 1
        arrived = [at for at in self.video.at[:packets] if at >= 0]
        bytes_ = sum(self.video.size[n] for n in got)
        heard = [n for n, at in enumerate(self.audio.at) if 0 <= at <= now]
        bytes_ += len(heard) * AUDIO_SIZE
        sent = heard[-1] + 1 if heard else 0
        recent = [at for at in arrived if at > now - 2 * REPORT]
        gap = 2 * REPORT if not recent else 0.0
        found = self.ladder.report(Progress(
            at=now, packets=packets, lost=packets - len(arrived), line_bytes=bytes_,
            transit=self.video.at[got[-1]] - self.video.sent[got[-1]], longest_gap=gap,
            other_stream=(sent, sent - len(heard)),
        ))  # fmt: skip
        if found is not None:
            self._playing, self._paused_until, self._key = found, now + DRAIN, True
            self.ladder.rung_started(len(self.video.at))

    def transits(self) -> list[float]:
        """Seconds from sending to arrival of the sound."""
        return [
            at - sent for at, sent in zip(self.audio.at, self.audio.sent, strict=True) if at >= 0
        ]


def observed(condition: Condition) -> tuple[LineModel | None, list[ObservedLine | None]]:
    """The line of a call over this link; None if the call shows too little."""
    ways = [Way(f"{condition.name}/{end}", condition, dict(wanted))
            for end, wanted in (("down", condition.down), ("up", condition.upwards))]  # fmt: skip
    found = [way.run() for way in ways]
    trips = [way.transits() for way in ways]
    if found[0] is None or found[1] is None or not all(trips):
        return None, found
    trip = float(sum(np.median(each) for each in trips))
    return line_of(found[0], found[1], trip), found


def described(condition: Condition, line: LineModel | None) -> str:
    """The line's settings beside what was observed."""
    if line is None:
        return f"{condition.name}: not observed"
    rows = [condition.name]
    true = true_line(condition)
    for end in ("down", "up"):
        for name, each in (("true", getattr(true, end)), ("seen", getattr(line, end))):
            rows.append(
                f"     {end:4} {name} {each.rate / 1e6:6.3f} Mbit/s queue {each.queue:.3f} bucket"
                f" {each.bucket:.2f} delay {each.delay:.3f} jitter {each.jitter:.4f} loss"
                f" {each.loss:.3f} in {each.burst:.1f} others {each.others / 1e6:.2f}"
            )
    return "\n".join(rows) + f"\n     gone {line.gone:.2f} every {line.every:.1f}"


def _answer(work: tuple[Condition, int]) -> tuple[str, LineModel | None, tuple[float, ...]]:
    condition, runs = work
    line, _ = observed(condition)
    found = () if line is None else predict(line, runs=runs).probabilities
    return condition.name, line, found


def main() -> int:
    """Observe the hard links and let the twin answer."""
    given = parser(__doc__)
    given.add_argument("--part", choices=("tuning", "held"), default="tuning")
    given.add_argument("--runs", type=int, default=32, help="runs of a link; 0: only observe")
    given.add_argument("--only", default="", metavar="TEXT", help="links named like this")
    options = given.parse_args()
    links, calls = chosen(options.part)
    links = [link for link in links if link.part in ("hard", "held") and not link.elastic]
    links = [link for link in links if options.only in link.name]
    if not options.runs:
        for link in links:
            print(described(link, observed(link)[0]))
        return 0
    results: list[Link] = []
    by_name = {link.name: link for link in links}
    unanswered = 0
    with get_context("fork").Pool(PROCESSES) as pool:
        for name, line, found in pool.imap(_answer, [(link, options.runs) for link in links]):
            print(described(by_name[name], line))
            if not found:
                unanswered += 1
                continue
            each = Link(by_name[name], calls[name], (), found)
            results.append(each)
            right = "right" if each.grade in each.truth else "WRONG"
            print(f"     {right}: Chromium {each.grades}, twin {each.grade}",
                  " ".join(f"{value:.2f}" for value in found), flush=True)  # fmt: skip
    rows = list(hard_rows(results, "observed"))
    rows.append(note("no answer", unanswered, "links", f"of {len(links)}"))
    return finish("The twin on the observed line", rows, options)


if __name__ == "__main__":
    sys.exit(main())
