"""The assessment of a line as text for people: figures with their interval and their basis."""

from __future__ import annotations

from collections.abc import Mapping
from math import isinf

from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.schema import Thresholds
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.assess import Assessment, LineDirection
from jharnet_monitor.judge.line.contract import promised_availability
from jharnet_monitor.judge.line.need import Need
from jharnet_monitor.judge.line.verdict import LineVerdict
from jharnet_monitor.judge.statistics.intervals import Interval


def interval(found: Interval | Need | None, form: formats.FigureFormat, words: Words) -> str:
    """Value and interval, such as `3.9 (3.85 to 3.94) Mbit/s`."""
    if found is None:
        return words("not_measured")
    high = None if found.high is None or isinf(found.high) else found.high
    figures = [figure for figure in (found.value, found.low, high) if figure is not None]
    parts = [form(figure, figures) for figure in figures]
    if found.low is None:
        return words("dossier.no_interval", value=parts[0])
    if high is None:
        return words("dossier.at_least", value=parts[0], low=parts[1])
    units = {text.rpartition(" ")[2] for text in parts}
    unit = ""
    if len(units) == 1 and not any(text.startswith(("<", ">")) for text in parts):
        unit = f" {units.pop()}"
        parts = [text.rpartition(" ")[0] for text in parts]
    return words("dossier.interval", value=parts[0], low=parts[1], high=parts[2], unit=unit)


def rests(found: Interval | None, words: Words, key: str = "rests") -> str:
    """The number of tests and days behind a figure; empty without tests."""
    if found is None or not found.n:
        return ""
    return words(f"dossier.{key}", n=found.n, days=found.days)


def contract(found: Assessment, words: Words) -> str:
    """The contracted rate, stated once if it is the same in both directions."""
    down, up = (side.contracted for side in found.directions)
    if down is None:
        return words("report.contract_unknown")
    return formats.rate(down) if down == up else formats.both_rates(down, up)


def need(found: Assessment, words: Words) -> str:
    """The need, stated once if it is the same in both directions."""
    needs = [side.need for side in found.directions]
    down, up = (one.value for one in needs)
    told = formats.rate(down) if down == up else formats.both_rates(down, up)
    return words("capacity.at_least", rate=told) if any(n.at_least for n in needs) else told


def _need(one: Need, words: Words) -> str:
    """The need of one direction, with its interval if it was measured."""
    if one.at_least:
        return words("capacity.at_least", rate=formats.rate(one.value))
    return interval(one, formats.rate, words) if one.measured else formats.rate(one.value)


def other_basis(found: Assessment, words: Words) -> str:
    """Whether the need is based on measured traffic."""
    measured = [side.need.measured for side in found.directions]
    basis = "measured" if all(measured) else "partly" if any(measured) else "assumed"
    return words(f"capacity.other_{basis}")


def need_text(config: Config, offices: Mapping[str, Assessment], words: Words) -> str:
    """How the need is computed, and which part is an assumption."""
    policy = config.capacity
    measured = [
        formats.office_name(office, words)
        for office in config.offices
        if office.id in offices
        and any(side.need.measured for side in offices[office.id].directions)
    ]
    every = len(measured) == len(offices)
    basis = "all" if every else "some" if measured else "none"
    return words(
        "capacity.need",
        conferences=policy.conferences,
        video=formats.rate(policy.video),
        audio=formats.rate(policy.audio),
        overhead=formats.share_whole(policy.overhead),
        other=words(
            f"capacity.need_other.{basis}",
            other=formats.rate(policy.other),
            names=formats.list_of(measured, words),
        ),
        per_seat=formats.rate(policy.per_seat),
        services=formats.rate(policy.services),
        utilisation=formats.share_whole(policy.utilisation),
    )


def reason(found: Assessment, config: Config, office: Office, words: Words) -> str:
    """The reason for the verdict, in one sentence."""
    side = _deciding(found, config)
    down = {LineVerdict.POWER: found.power_down, LineVerdict.LAN: found.lan_down}
    share = config.thresholds.delivered
    quality = found.verdict is LineVerdict.LINE_QUALITY
    return words(
        f"capacity.reason.{kind_of_reason(found, config)}",
        contracted=words("not_measured")
        if side.contracted is None
        else formats.rate(side.contracted),
        delivered=interval(side.delivered.median, formats.rate, words),
        need=_need(side.need, words),
        slab="" if found.slab is None else formats.rate(found.slab),
        mark=formats.share(config.thresholds.loss) if quality else formats.share_whole(share),
        share=formats.share(down.get(found.verdict, found.link_down)),
        promised=formats.share_floor(promised_availability(config, office)),
        loss=interval(found.loss, formats.share, words),
        doubt=doubt(found, config, words),
    )


def kind_of_reason(found: Assessment, config: Config) -> str:
    """The kind of reason for the verdict; its text is under `capacity.reason`."""
    side = _deciding(found, config)
    if found.verdict is LineVerdict.UPGRADE and found.slab is None:
        return "upgrade_beyond"
    if found.verdict is LineVerdict.REPAIR and not side.falls_short(config.thresholds.delivered):
        return "repair_need" if side.withheld else "repair_down"
    return found.verdict.value


def doubt(found: Assessment, config: Config, words: Words) -> str:
    """The first doubt about the verdict; empty if there is none."""
    if not found.doubts:
        return ""
    return words(f"capacity.doubt.{found.doubts[0]}", days=found.days, wanted=config.capacity.days)


def slabs_text(config: Config, offices: Mapping[str, Assessment], words: Words) -> str:
    """The speeds to order, each with its offices: `8 Mbit/s (Potka and Boram)`."""
    groups: dict[str, list[str]] = {}
    for office in config.offices:
        if office.id not in offices:
            continue
        found = offices[office.id]
        slab = words(
            "capacity.slab_beyond",
            need=formats.rate(max(side.need.value for side in found.directions)),
        )
        if found.slab is not None:
            slab = formats.rate(found.slab)
        groups.setdefault(slab, []).append(formats.office_name(office, words))
    return formats.list_of(
        (
            words("capacity.slab", slab=slab, names=formats.list_of(names, words))
            for slab, names in groups.items()
        ),
        words,
    )


def verdict_name(verdict: LineVerdict, words: Words) -> str:
    """A verdict in a word or two."""
    return words(f"capacity.verdict.{verdict}")


def _deciding(found: Assessment, config: Config) -> LineDirection:
    """The direction that decides the verdict; if both do, the one that falls shorter."""
    verdict, share = found.verdict, config.thresholds.delivered

    def shortness(side: LineDirection) -> tuple[bool, float]:
        median, contracted, need = side.delivered.median, side.contracted, side.need
        if median is None or not contracted:
            return False, 0.0 if verdict is LineVerdict.NOT_ENOUGH_EVIDENCE else 2.0
        if verdict is LineVerdict.UPGRADE:
            below = median.below(need.low) and contracted < need.low
            return not below, median.value / need.value
        short = verdict is LineVerdict.REPAIR and side.not_delivered(share)
        return not short, median.value / contracted

    return min(found.directions, key=shortness)


def thresholds_text(thresholds: Thresholds, words: Words) -> str:
    """The thresholds that the figures are held against."""
    return words(
        "report.method_text.marks",
        grade=words(f"grade.{thresholds.grade}"),
        loss=formats.share(thresholds.loss),
        rtt=formats.milliseconds(thresholds.rtt),
        delivered=formats.share_whole(thresholds.delivered),
        availability=formats.share_floor(thresholds.availability),
    )
