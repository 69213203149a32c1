"""The results of one case of the bandwidth benchmark, compared with the marks and the peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median

from jharnet_monitor.probes.bandwidth.plan import TRAIN_BYTES
from tests.bench.bandwidth_case import CROSS, IDLE, JITTER, LOSS, WAYS, Case, Seen
from tests.bench.marks import Row, at_most, note

MEDIAN, P95 = 1.0, 3.0
"""Per cent of the rate of an idle line."""
MARKED, SURE = 3.0, 1.5
"""A test over a lossy line whose error is larger than this, and than 1.5 times its own interval
(three standard errors), has to report that loss limited it."""
JITTER_SECONDS = 0.01
"""Jitter of 5 ms either way, from the earliest to the latest: no shorter train can measure it."""


def rows(case: Case, seen: Seen, idle: Seen) -> Iterator[Row]:
    """All rows of a case; `idle` is the result of the same line without trouble."""
    name = case.name
    broken = "; ".join(dict.fromkeys(seen.failed))[:100]
    yield at_most(f"{name}: tests without a result", len(seen.failed), 0, "runs", broken)
    for way in WAYS:
        if seen.errors[way]:
            yield from _way_rows(case, seen, way, idle.iperf_bytes)
    if seen.seconds:
        yield at_most(f"{name}: longest direction", max(seen.seconds), 2.5, "s")
        yield at_most(f"{name}: loaded RTT, worst error", 100 * _worst(seen.loaded), 10, "%")
        promised = 100 * max(seen.promised)
        yield at_most(f"{name}: bytes on the line, of those promised", promised, 101, "%")
        missing = 100 * fmean(seen.unbooked)
        yield at_most(f"{name}: bytes missing in the books, mean", missing, 1, "%")
    yield from _train_rows(case, seen)


def _way_rows(case: Case, seen: Seen, way: str, iperf_bytes: Mapping[str, int]) -> Iterator[Row]:
    name = f"{case.name}: {way}"
    errors = [100 * abs(error) for error in seen.errors[way]]
    peers = ", ".join(f"{peer} {100 * error:+.1f} %" for peer, error in seen.peers[way].items())
    if case.trouble == IDLE:
        yield at_most(f"{name}, median error", median(errors), MEDIAN, "%", peers)
        yield at_most(f"{name}, error, 95th percentile", _p95(errors), P95, "%")
    elif case.crossed(way):
        yield note(f"{name}, median error against what is left", median(errors), "%", peers)
        full = 100 * median(seen.full[way])
        yield note(f"{name}, difference to the line's rate", full, "%")
    else:
        yield note(f"{name}, median error", median(errors), "%", peers)
    if case.trouble == LOSS:
        yield from _loss_rows(name, errors, seen, way)
    if way in iperf_bytes:  # the bytes of a test on an office's line without trouble
        took = median(seen.bytes[way])
        here = f"{100 * took / seen.iperf_bytes[way]:.3g} % of iperf3's beside it"
        share = 100 * took / iperf_bytes[way]
        yield at_most(f"{name}, bytes of iperf3's in peace", share, 15, "%", here)


def _loss_rows(name: str, errors: Sequence[float], seen: Seen, way: str) -> Iterator[Row]:
    """If loss, not the line, limits TCP, the test has to report it."""
    text = seen.by_loss[way]
    silent = sum(
        error > max(MARKED, 100 * SURE * uncertain) and not by
        for error, uncertain, by in zip(errors, seen.uncertain[way], text, strict=True)
    )
    peer = f"limited by loss said in {sum(text)} of {len(text)}"
    yield at_most(f"{name}, too low and nothing said of it", silent, 0, "runs", peer)
    missing = sum(text) - len(seen.together[way])
    yield at_most(f"{name}, said without the trains' figure", max(0, missing), 0, "runs")
    if seen.together[way]:
        together = median(100 * abs(error) for error in seen.together[way])
        yield at_most(f"{name}, the trains' figure beside it, median error", together, 5, "%")


def _train_rows(case: Case, seen: Seen) -> Iterator[Row]:
    name = f"{case.name}: trains"
    silent = 2 * len(seen.train_bytes) - len(seen.trains)
    if case.trouble == JITTER and TRAIN_BYTES * 8 / case.rate("download") < JITTER_SECONDS:
        yield note(f"{name} shorter than the jitter, that told nothing", silent, "runs")
    else:
        yield at_most(f"{name} that told nothing", silent, 0, "runs")
    if seen.trains:
        middle = median(100 * abs(error) for error in seen.trains)
        if case.trouble == CROSS:
            yield note(f"{name}, median error against the line's rate", middle, "%")
        else:
            yield at_most(f"{name}, median error", middle, 3 if case.trouble == IDLE else 5, "%")
    yield at_most(f"{name}, bytes a direction", max(seen.train_bytes) / 1000, 50, "kB")


def _worst(errors: Sequence[float]) -> float:
    return max(abs(error) for error in errors)


def _p95(errors: Sequence[float]) -> float:
    """The 95th percentile by rank; of fewer than twenty values the largest."""
    return sorted(errors)[-1 - len(errors) // 20]
