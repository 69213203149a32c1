"""Calls of the twin as it is frozen: lines with every trouble that it knows, and what they show.

The figures of `help/accuracy.md` were measured with this model. After a change that is meant,
`python -m tests.twin_frozen` writes `twin_frozen.json` anew, and those figures have to be measured
again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jharnet_monitor.judge.twin import call
from jharnet_monitor.judge.twin.arrivals import observe
from jharnet_monitor.judge.twin.clients import Client
from jharnet_monitor.judge.twin.line import DirectionModel, LineModel
from jharnet_monitor.judge.twin.trace import PacketColumns
from jharnet_monitor.lab.pipe import Pipe
from jharnet_monitor.lab.spec import LinkDirection

FILE = Path(__file__).with_name("twin_frozen.json")
SETTLE, WINDOW, RUNS, SEED = 14.0, 8.0, 2, 20261127

_WIDE = DirectionModel(rate=8e6, delay=0.03)
LINES: Mapping[str, LineModel] = {
    "clear": LineModel(_WIDE, _WIDE),
    "narrow and asymmetric": LineModel(
        DirectionModel(rate=0.61e6, queue=0.31, delay=0.043, rate_doubt=0.05, queue_doubt=0.2),
        DirectionModel(rate=0.27e6, queue=0.52, delay=0.043),
    ),
    "very narrow": LineModel(
        DirectionModel(rate=0.13e6, queue=0.4), DirectionModel(rate=0.09e6, queue=0.2)
    ),
    "random and bursty loss": LineModel(
        DirectionModel(rate=3.1e6, loss=0.031, loss_doubt=0.1),
        DirectionModel(rate=3.1e6, loss=0.052, burst=3.5),
    ),
    "jitter": LineModel(
        DirectionModel(rate=2.3e6, delay=0.081, jitter=0.031),
        DirectionModel(rate=2.3e6, delay=0.081, jitter=0.007),
    ),
    "interrupted": LineModel(_WIDE, DirectionModel(rate=1.9e6), gone=0.7, every=6.1),
    "policed": LineModel(
        DirectionModel(rate=0.83e6, bucket=0.12), DirectionModel(rate=0.41e6, bucket=0.31)
    ),
    "steady traffic of others": LineModel(
        DirectionModel(rate=2.1e6, queue=0.11, others=1.4e6),
        DirectionModel(rate=1.3e6, bucket=0.09, others=1.5e6),
    ),
    "transfers of others": LineModel(
        DirectionModel(rate=3.7e6, queue=0.14, transfer_on=5.3, transfer_off=3.1),
        DirectionModel(rate=1.7e6, bucket=0.13, transfer_on=60.0, transfer_off=2.0),
    ),
    "a slow transfer": LineModel(
        DirectionModel(rate=1.1e6, queue=0.6, transfer_on=60.0, delay=0.007), _WIDE
    ),
}
CLIENTS = (Client(), Client("small", max_video=0.35e6, max_height=360))


Others = Callable[[np.random.Generator], list[float]]
"""When others send packets of 1500 bytes."""


def _alone(_: np.random.Generator) -> list[float]:
    return []


def _steady(rng: np.random.Generator) -> list[float]:
    return [float(at) for at in np.cumsum(rng.exponential(1500 * 8 / 0.9e6, 1500)) if at < 20]


def _at_times(_: np.random.Generator) -> list[float]:
    return [at for n in range(2000) if (at := n * 1500 * 8 / 1.2e6) > 11 and at % 4 > 1.7]


VIDEO = (0.25e6,) * 90 + (1.1e6,) * 90 + (1.5e6,) * 90 + (0.4e6,) * 330
"""bit/s of the video at each of 600 pictures."""
WAYS: Mapping[str, tuple[Mapping[str, Any], Others]] = {
    "clear": ({"rate": "8 Mbit/s", "delay": "30ms"}, _alone),
    "full queue": ({"rate": "0.93 Mbit/s", "queue": "310ms", "delay": "20ms"}, _alone),
    "always full": ({"rate": "0.21 Mbit/s", "queue": "520ms", "delay": "20ms"}, _alone),
    "short queue": ({"rate": "1.2 Mbit/s", "queue": "40ms", "delay": "20ms"}, _alone),
    "loss": ({"rate": "6 Mbit/s", "loss": "3.1%", "delay": "20ms"}, _alone),
    "bursts": ({"rate": "6 Mbit/s", "loss": {"mean": "5.2%", "burst": 3.5}}, _alone),
    "jitter": ({"rate": "6 Mbit/s", "delay": "80ms", "jitter": "31ms"}, _alone),
    "jitter and queue": (
        {"rate": "1 Mbit/s", "queue": "400ms", "delay": "80ms", "jitter": "7ms"}, _alone),
    "policer": ({"bucket": {"rate": "0.83 Mbit/s", "size": "310ms"}, "delay": "20ms"}, _alone),
    "steady others": ({"rate": "2 Mbit/s", "queue": "200ms", "delay": "20ms"}, _steady),
    "others at times": ({"rate": "1.03 Mbit/s", "queue": "150ms", "delay": "20ms"}, _at_times),
    "interrupted": ({"rate": "3 Mbit/s", "delay": "20ms", "_": "gone"}, _alone),
}  # fmt: skip
"""Settings of the lab, and others' packets. What stands under `_` is this module's."""


def shown() -> dict[str, Any]:
    """What each call shows at both ends, by client and line."""
    before, call.WINDOW = call.WINDOW, WINDOW
    try:
        return {
            client.name: {
                name: [asdict(run) for run in runs]
                for name, runs in zip(
                    LINES,
                    call.simulate_each(list(LINES.values()), SETTLE, SEED, client, RUNS),
                    strict=True,
                )
            }
            for client in CLIENTS
        }
    finally:
        call.WINDOW = before


def observed() -> dict[str, Any]:
    """What the arrivals of a stream over each of the lab's lines show of it."""
    found = {}
    for number, (name, (settings, others)) in enumerate(WAYS.items()):
        seen = observe(*_streams(settings, others, np.random.default_rng(SEED + number)))
        found[name] = None if seen is None else asdict(seen)
    return found


def _streams(
    settings: Mapping[str, Any], others: Others, rng: np.random.Generator
) -> tuple[PacketColumns, PacketColumns]:
    """Sound and video of a call through a pipe of the lab, beside packets of others."""
    known = {key: value for key, value in settings.items() if key != "_"}
    pipe = Pipe("p", LinkDirection.model_validate(known), SEED)
    packets = [(0.007 + 0.02 * n, 88, "sound", n) for n in range(1000)]
    for n, rate in enumerate(VIDEO):
        bits = rate * float(rng.uniform(0.8, 1.2)) / 30
        count = int(bits / 8 // 1140) + 1
        packets += [(n / 30, int(bits / 8 / count) + 72, "video", n)] * count
    packets += [(at, 1500, "others", 0) for at in others(rng)]
    rows: dict[str, list[tuple[float, ...]]] = {"sound": [], "video": [], "others": []}
    for number, (sent, size, kind, frame) in enumerate(sorted(packets)):
        gone = "gone" in settings.get("_", ()) and sent % 7.3 > 6.7
        due = -1.0 if gone else pipe.admit(100.0 + sent, size)
        # No two arrive at once: processors differ in how they sort equal times.
        rows[kind].append((sent, due + 1e-9 * number if due >= 0 else np.nan, size, frame))
    again = np.sort(rng.uniform(101.0, 120.0, 9))
    return _columns(rows["sound"], again[:0]), _columns(rows["video"], again)


def _columns(rows: list[tuple[float, ...]], again: NDArray[np.float64]) -> PacketColumns:
    sent, at, size, frame = np.array(rows).T
    return PacketColumns(sent, at, size, frame, again, 900 + again)


def text() -> str:
    """All of it as a file, to ten digits."""
    found = {"calls": shown(), "arrivals": observed()}
    return json.dumps(_rounded(found), indent=1) + "\n"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
