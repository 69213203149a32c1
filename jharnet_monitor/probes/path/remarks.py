"""Remarks on a trace for the office's page: faults with their place, and each hop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jharnet_monitor.judge.path import Stretch, delay_stretch
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.probes.path.names import HopNames
from jharnet_monitor.probes.path.result import figures
from jharnet_monitor.probes.probe import CurrentRuns, Remark

if TYPE_CHECKING:
    from jharnet_monitor.config import Config


def remarks(
    config: Config, run: Measurement, office: CurrentRuns, headquarters: CurrentRuns
) -> Iterator[Remark]:
    """Faults first, then marks, then the hops."""
    if run.outcome is Outcome.NO_DATA:
        return
    names = HopNames(config.probes.path.hops)
    trace = run.conditions
    if run.outcome is Outcome.FAILED:
        answering = [n for n, hop in enumerate(trace.get("hops", ()), 1) if hop["received"]]
        last = max(answering, default=0)
        yield Remark("path.silent", {"where": _behind(names, trace, Stretch(last, last + 1))})
    yield from _faults(config, names, trace, "down")
    if "back" in trace:
        yield from _faults(config, names, trace["back"], "up")
    for mark, ways in trace.get("marking", {}).items():
        for direction, verdict in ways.items():
            way = Remark(f"way.{direction}")
            yield Remark(f"path.marking.{verdict}", {"mark": mark, "way": way})
    if "route_before" in trace:
        yield Remark("path.changed", {"before": _route(names, trace["route_before"])})
    for number, hop in enumerate(trace.get("hops", ()), 1):
        yield _hop(names, number, hop)


def _faults(
    config: Config, names: HopNames, trace: Mapping[str, Any], direction: str
) -> Iterator[Remark]:
    way = Remark(f"way.{direction}")
    hops = figures(trace)
    if between := trace.get("loss_between"):
        share = 1 - hops[-1].received / hops[-1].sent
        where = _behind(names, trace, Stretch(*between))
        yield Remark("path.loss", {"share": (share, "ratio"), "way": way, "where": where})
    delay = delay_stretch(hops)
    if delay and hops[-1].rtt is not None and hops[-1].rtt > config.thresholds.rtt:
        yield Remark("path.delay", {
            "part": (delay.seconds, "seconds"), "whole": (hops[-1].rtt, "seconds"), "way": way,
            "where": _behind(names, trace, delay.stretch),
        })  # fmt: skip
    if between := trace.get("mtu_black_hole"):
        where = _behind(names, trace, Stretch(*between))
        at_end = between[1] == len(hops)
        yield Remark(
            "path.black_hole_end" if at_end else "path.black_hole",
            {"most": trace["mtu_bytes"], "way": way, "where": where},
        )
    for mark, between in trace.get("mark_cleared_between", {}).items():
        where = _behind(names, trace, Stretch(*between))
        yield Remark("path.cleared", {"mark": mark, "way": way, "where": where})


def _behind(names: HopNames, trace: Mapping[str, Any], stretch: Stretch) -> Remark:
    """ "Behind hop 3 (name, owner)", or between two hops if that is all that is known."""
    if stretch.before - stretch.after > 1:
        return Remark("path.between", {
            "after": stretch.after, "before": stretch.before,
            "name": str(names.of(trace, stretch.before)),
        })  # fmt: skip
    if stretch.after == 0:
        return Remark("path.first")
    return Remark("path.behind", {
        "hop": stretch.after, "name": str(names.of(trace, stretch.after)) or "?",
    })  # fmt: skip


def _hop(names: HopNames, number: int, hop: Mapping[str, Any]) -> Remark:
    if not hop["received"]:
        return Remark("path.hop_silent", {"hop": number})
    return Remark("path.hop", {
        "hop": number,
        "name": str(names.of_address(hop["address"])),
        "rtt": (hop.get("rtt_p50_seconds"), "seconds"),
        "answers": hop["received"], "sent": hop["sent"],
    })  # fmt: skip


def _route(names: HopNames, addresses: Sequence[str | None]) -> str:
    return " → ".join(str(names.of_address(one)) or "?" for one in addresses)
