"""Claims as text for people: figures with their interval and their basis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jharnet_monitor.config import Config, Office
from jharnet_monitor.i18n import format as texts
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.assess import WAYS
from jharnet_monitor.judge.line.contract import promised_availability
from jharnet_monitor.judge.line.verdict import LineVerdict

Claim = Mapping[str, Any]


def interval(claim: Claim, form: texts.Form, words: Words) -> str:
    """Value and interval, such as `3.9 (3.85 to 3.94) Mbit/s`."""
    if claim["value"] is None:
        return words("not_measured")
    figures = [claim[name] for name in ("value", "low", "high") if claim[name] is not None]
    parts = [form(figure, figures) for figure in figures]
    if claim["low"] is None:
        return words("dossier.no_interval", value=parts[0])
    if claim["high"] is None:
        return words("dossier.at_least", value=parts[0], low=parts[1])
    units = {text.partition(" ")[2] for text in parts}
    unit = ""
    if len(units) == 1 and not any(text.startswith("<") for text in parts):
        unit = f" {units.pop()}"
        parts = [text.partition(" ")[0] for text in parts]
    return words("dossier.interval", value=parts[0], low=parts[1], high=parts[2], unit=unit)


def rests(claim: Claim, words: Words, key: str = "rests") -> str:
    """The number of tests and days behind a figure; empty without tests."""
    if not claim["n"]:
        return ""
    return words(f"dossier.{key}", n=texts.number(claim["n"]), days=claim["days"])


def contract(claims: Claim, words: Words) -> str:
    """The contracted rate, stated once if it is the same in both directions."""
    down, up = (claims["delivered"][way]["contracted"] for way in WAYS)
    if down is None:
        return words("report.contract_unknown")
    return texts.rate(down) if down == up else texts.both_rates(down, up)


def need(claims: Claim, words: Words) -> str:
    """The need, stated once if it is the same in both directions."""
    ways = [claims["need"][way] for way in WAYS]
    down, up = (way["value"] for way in ways)
    told = texts.rate(down) if down == up else texts.both_rates(down, up)
    return words("capacity.at_least", rate=told) if any(w["at_least"] for w in ways) else told


def _need(claims: Claim, way: str, words: Words) -> str:
    """The need of one direction, with its interval if it was measured."""
    one = claims["need"][way]
    if one["at_least"]:
        return words("capacity.at_least", rate=texts.rate(one["value"]))
    return interval(one, texts.rate, words) if one["measured"] else texts.rate(one["value"])


def other_basis(claims: Claim, words: Words) -> str:
    """Whether the need is based on measured traffic."""
    measured = [claims["need"][way]["measured"] for way in WAYS]
    basis = "measured" if all(measured) else "partly" if any(measured) else "assumed"
    return words(f"capacity.other_{basis}")


def need_text(config: Config, offices: Mapping[str, Claim], words: Words) -> str:
    """How the need is computed, and which part is an assumption."""
    policy = config.capacity
    measured = [
        texts.office_name(office, words)
        for office in config.offices
        if office.id in offices and any(offices[office.id]["need"][way]["measured"] for way in WAYS)
    ]
    every = len(measured) == len(offices)
    basis = "all" if every else "some" if measured else "none"
    return words(
        "capacity.need",
        conferences=policy.conferences,
        video=texts.rate(policy.video),
        audio=texts.rate(policy.audio),
        overhead=texts.percent(policy.overhead),
        other=words(
            f"capacity.need_other.{basis}",
            other=texts.rate(policy.other),
            names=texts.listed(measured, words),
        ),
        per_seat=texts.rate(policy.per_seat),
        services=texts.rate(policy.services),
        utilisation=texts.percent(policy.utilisation),
    )


def reason(claims: Claim, config: Config, office: Office, words: Words) -> str:
    """The reason for the verdict, in one sentence."""
    verdict = claims["verdict"]
    way = _deciding(claims, config, verdict)
    delivered = claims["delivered"][way]
    contracted = delivered["contracted"]
    mark = config.thresholds.loss if verdict == LineVerdict.LINE_QUALITY else None
    state = {LineVerdict.POWER: "power_down", LineVerdict.LAN: "lan_down"}.get(verdict, "link_down")
    return words(
        f"capacity.reason.{kind_of_reason(claims, config)}",
        contracted=words("not_measured") if contracted is None else texts.rate(contracted),
        delivered=interval(delivered, texts.rate, words),
        need=_need(claims, way, words),
        slab="" if claims["slab"] is None else texts.rate(claims["slab"]),
        mark=texts.percent(config.thresholds.delivered) if mark is None else texts.loss(mark),
        share=texts.loss(claims["down"][state] or 0.0),
        promised=texts.share_down(promised_availability(config, office)),
        loss=interval(claims["loss"], texts.loss, words),
        doubt=doubt(claims, config, words),
    )


def kind_of_reason(claims: Claim, config: Config) -> str:
    """The kind of reason for the verdict; its text is under `capacity.reason`."""
    verdict = str(claims["verdict"])
    way = _deciding(claims, config, verdict)
    delivered = claims["delivered"][way]
    if verdict == LineVerdict.UPGRADE and claims["slab"] is None:
        return "upgrade_beyond"
    if verdict == LineVerdict.REPAIR and not falls_short(delivered, config):
        return "repair_need" if withheld(claims, way) else "repair_down"
    return verdict


def falls_short(delivered: Claim, config: Config) -> bool:
    """Whether a direction certainly delivers less than the contract requires."""
    if delivered["high"] is None or delivered["contracted"] is None:
        return False
    return bool(delivered["high"] < config.thresholds.delivered * delivered["contracted"])


def withheld(claims: Claim, way: str) -> bool:
    """Whether the contract covers the need of a direction, but certainly less is delivered."""
    one, need = claims["delivered"][way], claims["need"][way]
    if None in (one["high"], one["contracted"], need["high"]):
        return False
    return bool(one["high"] < need["low"] and one["contracted"] >= need["high"])


def not_delivered(claims: Claim, config: Config, way: str) -> bool:
    """Whether a direction certainly delivers too little, by `falls_short` or `withheld`."""
    return falls_short(claims["delivered"][way], config) or withheld(claims, way)


def doubt(claims: Claim, config: Config, words: Words) -> str:
    """The first doubt about the verdict; empty if there is none."""
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
            need=texts.rate(max(one["value"] for one in claims["need"].values())),
        )
        if claims["slab"] is not None:
            slab = texts.rate(claims["slab"])
        groups.setdefault(slab, []).append(texts.office_name(office, words))
    return texts.listed(
        (
            words("capacity.slab", slab=slab, names=texts.listed(names, words))
            for slab, names in groups.items()
        ),
        words,
    )


def verdict_name(name: str, words: Words) -> str:
    """A verdict in a word or two."""
    return words(f"capacity.verdict.{name}")


def _deciding(claims: Claim, config: Config, verdict: str) -> str:
    """The direction that decides the verdict; if both do, the one that falls shorter."""

    def shortness(way: str) -> tuple[bool, float]:
        one = claims["delivered"][way]
        if one["value"] is None or not one["contracted"]:
            return False, 0.0 if verdict == LineVerdict.NOT_ENOUGH_EVIDENCE else 2.0
        if verdict == LineVerdict.UPGRADE:
            need = claims["need"][way]
            below = one["high"] is not None and one["high"] < need["low"] > one["contracted"]
            return not below, float(one["value"] / need["value"])
        short = verdict == LineVerdict.REPAIR and not_delivered(claims, config, way)
        return not short, float(one["value"] / one["contracted"])

    return min(WAYS, key=shortness)
