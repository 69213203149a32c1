"""The rate from simulated paced streams whose sender pauses, beside the rate of the line.

    python -m tests.bench.paced_pauses [--quick] [--seed N] [--json FILE]

Each stream of the probe crosses a line of the lab of 0.3 to 5 Mbit/s (logarithmic), 16 to 80 ms and
a queue of 80 to 400 ms, in simulated time. One to three pauses of the sender begin at any time, of
0.03 to 0.15 s each; the probe refuses a stream that was late for more than a tenth of its time, so
such are drawn again. Rows name what else the line does: `jitter` of 1 to 15 ms, `loss` of 1 to 6 %,
or a token `bucket` of 20 to 80 kB on a line of three times the rate, with a queue. A rate counts as
wrong if neither its interval has the rate of the line nor the reading is marked. It takes a few
seconds.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from jharnet_monitor.judge.line.paced_stream import PacedRate, paced_rate
from jharnet_monitor.judge.line.reading import reading
from jharnet_monitor.probes.bandwidth.paced_test import FULL, LIGHT, MAX_LATE_SHARE
from jharnet_monitor.probes.bandwidth.udp_stream import (
    LATE_SECONDS,
    StreamPhase,
    StreamPlan,
    datagram_bytes,
)
from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.stream_support import Pause, rows_over

KINDS = ("", "jitter", "loss", "bucket")
LIGHT_SECONDS, FULL_SECONDS = 0.6, 1.4


def drawn_line(chance: random.Random, kind: str) -> tuple[float, float, dict[str, Any]]:
    """A line of the lab; its rate in bit/s, and the share that it loses."""
    rate, loss = 0.3 * (5 / 0.3) ** chance.random(), 0.0
    queue = f"{chance.uniform(80, 400):.0f}ms"
    line: dict[str, Any] = {"delay": f"{chance.uniform(16, 80):.0f}ms", "queue": queue}
    line["rate"] = f"{rate:.4f} Mbit/s"
    match kind:
        case "jitter":
            line["jitter"] = f"{chance.uniform(1, 15):.1f}ms"
        case "loss":
            loss = chance.uniform(0.01, 0.06)
            line["loss"] = f"{100 * loss:.3f}%"
        case "bucket":
            size = chance.uniform(20, 80) * 8e-3 / rate
            line["rate"] = f"{3 * rate:.4f} Mbit/s"
            line["bucket"] = {"rate": f"{rate:.4f} Mbit/s", "size": f"{size:.3f}s", "queue": queue}
    return rate * 1e6, loss, line


def drawn_pauses(chance: random.Random, most: int, seconds: float) -> list[Pause]:
    """At most `most` pauses, for which the probe would not refuse the stream."""
    while True:
        found = sorted(
            (chance.uniform(0, seconds), chance.uniform(0.03, 0.15))
            for _ in range(chance.randint(min(1, most), most))
        )
        if sum(length for _, length in found if length > LATE_SECONDS) <= MAX_LATE_SHARE * seconds:
            return found


def streamed(chance: random.Random, kind: str, most: int) -> tuple[float, float, PacedRate | None]:
    """The rate of a line, the share that it loses, and what a stream shows of it."""
    rate, loss, line = drawn_line(chance, kind)
    phases = (StreamPhase(LIGHT * rate, LIGHT_SECONDS), StreamPhase(FULL * rate, FULL_SECONDS))
    plan = StreamPlan(phases, datagram_bytes(rate))
    pauses = drawn_pauses(chance, most, plan.seconds)
    rows = rows_over(line, plan, pauses, seed=chance.randrange(1 << 30))
    return rate, loss, paced_rate(rows, plan.ip_bytes, LIGHT_SECONDS)


def _rows(kind: str, most: int, seed: int, streams: int) -> list[Row]:
    chance = random.Random(f"{seed} {kind} {most}")
    errors, marked, wrong = [], 0, 0
    for _ in range(streams):
        rate, loss, paced = streamed(chance, kind, most)
        found = reading(None, paced)
        if paced is None or found is None or not paced.filled:
            continue
        errors.append(100 * abs(found.rate / (rate * (1 - loss)) - 1))
        marked += found.limited_by is not None
        missed = found.low > rate * (1 - loss) or (found.high or 1e12) < rate
        wrong += missed and found.limited_by is None
    name = f"{kind or 'rate and queue only'}, {'pauses' if most else 'no pause'}"
    percent, error = 100 / streams, float(np.quantile(errors, 0.95))
    return [
        note(f"{name}: not filled", streams * percent - len(errors) * percent, "%"),
        at_most("  95th percentile of the error", error, 1.0, "%") if kind in ("", "jitter")
        else note("  95th percentile of the error", error, "%"),
        note("  largest error", max(errors), "%"),
        note("  marked", marked * percent, "%"),
        note("  wrong, not marked", wrong * percent, "%") if kind == "bucket"
        else at_most("  wrong, not marked", wrong * percent, 5.0, "%"),
    ]  # fmt: skip


def main() -> int:
    """Run the command line."""
    options = arguments(__doc__)
    streams = 100 if options.quick else 400
    rows = [
        row for kind in KINDS for most in (0, 3) for row in _rows(kind, most, options.seed, streams)
    ]
    return finish(f"{streams} paced streams of each kind", rows, options)


if __name__ == "__main__":
    raise SystemExit(main())
