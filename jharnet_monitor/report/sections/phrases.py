"""How claims are written for people: a figure never without its interval and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.schema import Thresholds
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.contract import promised_availability
from jharnet_monitor.judge.line.verdict import LineVerdict
from jharnet_monitor.model import Direction

Claim = Mapping[str, Any]


def interval(claim: Claim, form: formats.FigureFormat, words: Words) -> str:
    """Value and interval, such as `3.9 (3.85 to 3.94) Mbit/s`."""
    if claim["value"] is None:
        return words("not_measured")
    figures = [claim[name] for name in ("value", "low", "high") if claim[name] is not None]
    parts = [form(figure, figures) for figure in figures]
    if claim["low"] is None:
        return words("dossier.no_interval", value=parts[0])
    if claim["high"] is None:
        return words("dossier.at_least", value=parts[0], low=parts[1])
    units = {text.rpartition(" ")[2] for text in parts}
    unit = ""
    if len(units) == 1 and not any(text.startswith(("<", ">")) for text in parts):
        unit = f" {units.pop()}"
        parts = [text.rpartition(" ")[0] for text in parts]
    return words("dossier.interval", value=parts[0], low=parts[1], high=parts[2], unit=unit)


def rests(claim: Claim, words: Words, key: str = "rests") -> str:
    """How many tests on how many days; empty where there is none."""
    if not claim["n"]:
        return ""
    return words(f"dossier.{key}", n=claim["n"], days=claim["days"])


def contract(claims: Claim, words: Words) -> str:
    """What was contracted, once where it is the same both ways."""
    down, up = (claims["delivered"][way]["contracted"] for way in Direction)
    if down is None:
        return words("report.contract_unknown")
    return formats.rate(down) if down == up else formats.both_rates(down, up)


def need(claims: Claim, words: Words) -> str:
    """What has to be carried, once where it is the same both ways."""
    ways = [claims["need"][way] for way in Direction]
    down, up = (way["value"] for way in ways)
    told = formats.rate(down) if down == up else formats.both_rates(down, up)
    return words("capacity.at_least", rate=told) if any(w["at_least"] for w in ways) else told


def _need(claims: Claim, way: Direction, words: Words) -> str:
    """What one way has to carry, with its interval where it was measured."""
    one = claims["need"][way]
    if one["at_least"]:
        return words("capacity.at_least", rate=formats.rate(one["value"]))
    return interval(one, formats.rate, words) if one["measured"] else formats.rate(one["value"])


def other_basis(claims: Claim, words: Words) -> str:
    """Whether the need rests on traffic that was measured."""
    measured = [claims["need"][way]["measured"] for way in Direction]
    basis = "measured" if all(measured) else "partly" if any(measured) else "assumed"
    return words(f"capacity.other_{basis}")


def need_text(config: Config, offices: Mapping[str, Claim], words: Words) -> str:
    """How the need is computed, and what of it is an assumption."""
    policy = config.capacity
    measured = [
        formats.office_name(office, words)
        for office in config.offices
        if office.id in offices
        and any(offices[office.id]["need"][way]["measured"] for way in Direction)
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


def reason(claims: Claim, config: Config, office: Office, words: Words) -> str:
    """Why the verdict is what it is, in one sentence."""
    verdict = claims["verdict"]
    way = _deciding(claims, config, verdict)
    delivered = claims["delivered"][way]
    contracted = delivered["contracted"]
    mark = config.thresholds.loss if verdict == LineVerdict.LINE_QUALITY else None
    state = {LineVerdict.POWER: "power_down", LineVerdict.LAN: "lan_down"}.get(verdict, "link_down")
    return words(
        f"capacity.reason.{kind_of_reason(claims, config)}",
        contracted=words("not_measured") if contracted is None else formats.rate(contracted),
        delivered=interval(delivered, formats.rate, words),
        need=_need(claims, way, words),
        slab="" if claims["slab"] is None else formats.rate(claims["slab"]),
        mark=formats.share_whole(config.thresholds.delivered)
        if mark is None
        else formats.share(mark),
        share=formats.share(claims["down"][state] or 0.0),
        promised=formats.share_floor(promised_availability(config, office)),
        loss=interval(claims["loss"], formats.share, words),
        doubt=doubt(claims, config, words),
    )


def kind_of_reason(claims: Claim, config: Config) -> str:
    """What the verdict rests on; the words for it stand under `capacity.reason`."""
    verdict = str(claims["verdict"])
    way = _deciding(claims, config, verdict)
    delivered = claims["delivered"][way]
    if verdict == LineVerdict.UPGRADE and claims["slab"] is None:
        return "upgrade_beyond"
    if verdict == LineVerdict.REPAIR and not falls_short(delivered, config):
        return "repair_need" if withheld(claims, way) else "repair_down"
    return verdict


def falls_short(delivered: Claim, config: Config) -> bool:
    """Whether a way certainly carries less than the contract asks for."""
    if delivered["high"] is None or delivered["contracted"] is None:
        return False
    return bool(delivered["high"] < config.thresholds.delivered * delivered["contracted"])


def withheld(claims: Claim, way: str) -> bool:
    """Whether the contract would meet the need of a way, and certainly less than that arrives."""
    one, need = claims["delivered"][way], claims["need"][way]
    if None in (one["high"], one["contracted"], need["high"]):
        return False
    return bool(one["high"] < need["low"] and one["contracted"] >= need["high"])


def not_delivered(claims: Claim, config: Config, way: Direction) -> bool:
    """Whether a way certainly carries less than the contract has to give."""
    return falls_short(claims["delivered"][way], config) or withheld(claims, way)


def doubt(claims: Claim, config: Config, words: Words) -> str:
    """The first reason why there is no conclusion; empty where there is one."""
    if not claims["doubts"]:
        return ""
    return words(
        f"capacity.doubt.{claims['doubts'][0]}", days=claims["days"], wanted=config.capacity.days
    )


def slabs_text(config: Config, offices: Mapping[str, Claim], words: Words) -> str:
    """The speeds to order, each with its offices: `8 Mbit/s (Potka and Boram)`."""
    groups: dict[str, list[str]] = {}
    for office in config.offices:
        if office.id not in offices:
            continue
        claims = offices[office.id]
        slab = words(
            "capacity.slab_beyond",
            need=formats.rate(max(one["value"] for one in claims["need"].values())),
        )
        if claims["slab"] is not None:
            slab = formats.rate(claims["slab"])
        groups.setdefault(slab, []).append(formats.office_name(office, words))
    return formats.list_of(
        (
            words("capacity.slab", slab=slab, names=formats.list_of(names, words))
            for slab, names in groups.items()
        ),
        words,
    )


def verdict_name(name: str, words: Words) -> str:
    """A verdict in a word or two."""
    return words(f"capacity.verdict.{name}")


def _deciding(claims: Claim, config: Config, verdict: str) -> Direction:
    """The direction that a verdict rests on, and if it is both, the one that falls shorter."""

    def shortness(way: Direction) -> tuple[bool, float]:
        one = claims["delivered"][way]
        if one["value"] is None or not one["contracted"]:
            return False, 0.0 if verdict == LineVerdict.NOT_ENOUGH_EVIDENCE else 2.0
        if verdict == LineVerdict.UPGRADE:
            need = claims["need"][way]
            below = one["high"] is not None and one["high"] < need["low"] > one["contracted"]
            return not below, float(one["value"] / need["value"])
        short = verdict == LineVerdict.REPAIR and not_delivered(claims, config, way)
        return not short, float(one["value"] / one["contracted"])

    return min(Direction, key=shortness)


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
