"""Links for the bandwidth benchmark, drawn by a random law, and those on which it once was wrong.

The law, for each link and from one seed: rate log-uniform from 80 kbit/s to 100 Mbit/s; half of
the links are asymmetric, with an upload of a quarter of the rate up to the whole; RTT log-uniform
from 5 to 600 ms; queue log-uniform from 20 ms to 1.5 s. The kinds come in the shares of `KINDS`:
*clean* has nothing else; *jitter* is uniform up to 40 ms (at most half of the RTT); *loss* up to
15 %, in half of the links in bursts of 2 to 8 packets, in a third with jitter; *policed* and
*shaped* have a token bucket of 10 kB to 2 s of its rate, which is 0.4 to 0.9 of the line's;
*shared* has other traffic of 10 to 60 % of the rate: constant, on and off, or elastic. The contract
is 0.8 to 1.25 times the (sustained) rate on two links of three, else 4 Mbit/s.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from random import Random
from typing import Any

KINDS = {"clean": 30, "jitter": 15, "loss": 25, "policed": 12, "shaped": 8, "shared": 10}
"""Per cent of the links."""
OTHERS = ("constant", "on/off", "elastic")
MIN_RATE, MAX_RATE = 80e3, 100e6


@dataclass(frozen=True)
class DirectionModel:
    """One direction: rate in bit/s, times in seconds, loss as a share of the packets.

    `bucket_rate` in bit/s and `bucket_bytes` describe a token bucket, if there is one.
    """

    rate: float
    queue: float
    jitter: float = 0.0
    loss: float = 0.0
    burst: float | None = None
    bucket_rate: float | None = None
    bucket_bytes: float = 0.0
    bucket_queue: float = 0.0

    def spec(self, rtt: float) -> dict[str, Any]:
        """The direction in a lab file."""
        found: dict[str, Any] = {
            "delay": f"{rtt * 500:.3f} ms",
            "rate": f"{self.rate / 1e6:.6f} Mbit/s",
            "queue": f"{self.queue * 1000:.3f} ms",
            "jitter": f"{min(self.jitter, rtt / 2) * 1000:.3f} ms",
        }
        if self.loss:
            found["loss"] = {"mean": f"{100 * self.loss:.4f}%", "burst": self.burst}
        if self.bucket_rate:
            found["bucket"] = {
                "rate": f"{self.bucket_rate / 1e6:.6f} Mbit/s",
                "size": f"{self.bucket_bytes:.0f} B",
                "queue": f"{self.bucket_queue * 1000:.3f} ms",
            }
        return found

    @property
    def lasting(self) -> float:
        """The rate in bit/s that the direction carries in the long run."""
        return min(self.rate, self.bucket_rate or self.rate)


@dataclass(frozen=True)
class Link:
    """A link to measure; `others` is the other traffic during the test, at `others_rate` bit/s."""

    name: str
    kind: str
    rtt: float
    down: DirectionModel
    up: DirectionModel
    contract: float = 4e6
    contract_up: float = 4e6
    others: str | None = None
    others_rate: float = 0.0
    congestion: str | None = None

    def way(self, name: str) -> DirectionModel:
        """The direction `download` or `upload`."""
        return self.down if name == "download" else self.up

    def contracted(self, name: str) -> float:
        """The contract of a direction in bit/s."""
        return self.contract if name == "download" else self.contract_up


def _log_uniform(chance: Random, low: float, high: float) -> float:
    return exp(chance.uniform(log(low), log(high)))


def _way(chance: Random, kind: str, rate: float) -> DirectionModel:
    queue = _log_uniform(chance, 0.02, 1.5)
    jitter = burst = 0.0
    loss = 0.0
    if kind == "jitter" or (kind == "loss" and chance.random() < 1 / 3):
        jitter = chance.uniform(0, 0.04)
    if kind == "loss":
        loss = chance.uniform(0, 0.15)
        burst = chance.uniform(2, 8) if chance.random() < 0.5 else 0.0
    if kind not in ("policed", "shaped"):
        return DirectionModel(rate, queue, jitter, loss, burst or None)
    lasting = rate * chance.uniform(0.4, 0.9)
    size = _log_uniform(chance, 10_000, max(20_000, 2 * lasting / 8))
    waits = queue if kind == "shaped" else 0.0
    return DirectionModel(rate, queue, bucket_rate=lasting, bucket_bytes=size, bucket_queue=waits)


def draw(seed: int, number: int) -> Link:
    """Link `number` of a seed."""
    chance = Random(f"{seed}/{number}")
    kind = chance.choices(list(KINDS), list(KINDS.values()))[0]
    rate = _log_uniform(chance, MIN_RATE, MAX_RATE)
    rate_up = max(MIN_RATE, rate * chance.uniform(0.25, 1)) if chance.random() < 0.5 else rate
    rtt = _log_uniform(chance, 0.005, 0.6)
    down, up = _way(chance, kind, rate), _way(chance, kind, rate_up)
    contracts = (4e6, 4e6)
    if chance.random() < 2 / 3:
        times = chance.uniform(0.8, 1.25)
        contracts = (down.lasting * times, up.lasting * times)
    others = chance.choice(OTHERS) if kind == "shared" else None
    share = chance.uniform(0.1, 0.6)
    congestion = chance.choice(("bbr", "reno"))
    name = f"{seed}/{number} {kind}"
    return Link(name, kind, rtt, down, up, *contracts, others, share * rate, congestion)


def _known(
    name: str,
    rates: tuple[float, float],
    rtt: float,
    queues: tuple[float, float],
    *,
    jitter: float = 0.0,
    loss: float = 0.0,
    burst: float | None = None,
) -> Link:
    """A link on which an earlier version was wrong: rates in Mbit/s, times in ms, loss in %."""
    down, up = (
        DirectionModel(rate * 1e6, queue / 1e3, jitter / 1e3, loss / 100, burst)
        for rate, queue in zip(rates, queues, strict=True)
    )
    kind = "loss" if loss else "jitter" if jitter else "clean"
    return Link(f"known: {name}", kind, rtt / 1e3, down, up)


KNOWN = (
    _known("long and fat", (7.4, 7.4), 400, (100, 100)),
    _known("narrow, jitter", (0.13, 0.13), 20, (1000, 1000), jitter=25),
    _known("narrow, 15 % loss", (0.18, 0.18), 240, (270, 270), loss=15),
    _known("far, 15 % in bursts", (0.35, 0.35), 550, (1000, 1000), loss=15, burst=3),
    _known("far, 8 % loss", (1.1, 0.55), 550, (500, 500), loss=8),
    _known("jitter, bursts of 8", (1.9, 1.9), 20, (200, 200), jitter=25, loss=5, burst=8),
    _known("narrow up, bursts of 8", (0.24, 0.12), 80, (500, 500), loss=3, burst=8),
    _known("narrow up, 2 % loss", (0.38, 0.1), 40, (130, 130), loss=2),
    _known("far, jitter, bursts of 8", (3.1, 3.1), 550, (200, 200), jitter=25, loss=15, burst=8),
)
