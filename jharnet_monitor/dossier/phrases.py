"""How claims are written for people: a figure never without its interval and what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jharnet_monitor.config import Config, Office
from jharnet_monitor.dossier.claims import WAYS
from jharnet_monitor.judge.capacity import Verdict
from jharnet_monitor.report import texts
from jharnet_monitor.report.words import Words

Claim = Mapping[str, Any]
Format = Callable[[float], str]


def interval(claim: Claim, form: Format, words: Words) -> str:
    """Value and interval, such as `3.9 (3.85 to 3.94) Mbit/s`."""
    if claim["value"] is None:
        return words("not_measured")
    value = form(claim["value"])
    if claim["low"] is None:
        return words("dossier.no_interval", value=value)
    parts = [value, form(claim["low"]), form(claim["high"])]
    units = {text.partition(" ")[2] for text in parts}
    unit = ""
    if len(units) == 1 and not any(text.startswith("<") for text in parts):
        unit = f" {units.pop()}"
        parts = [text.partition(" ")[0] for text in parts]
    return words("dossier.interval", value=parts[0], low=parts[1], high=parts[2], unit=unit)


def rests(claim: Claim, words: Words, key: str = "rests") -> str:
    """How many tests on how many days; empty where there is none."""
    if not claim["n"]:
        return ""
    return words(f"dossier.{key}", n=claim["n"], days=claim["days"])


def contract(claims: Claim, words: Words) -> str:
    """What was contracted, once where it is the same both ways."""
    down, up = (claims["delivered"][way]["contracted"] for way in WAYS)
    if down is None:
        return words("report.contract_unknown")
    return texts.rate(down) if down == up else texts.both_rates(down, up)


def reason(claims: Claim, config: Config, office: Office, words: Words) -> str:
    """Why the verdict is what it is, in one sentence."""
    verdict = claims["verdict"]
    way = _deciding(claims, verdict)
    delivered = claims["delivered"][way]
    contracted = delivered["contracted"]
    available = claims["availability"]
    key = f"capacity.reason.{verdict}"
    if verdict == Verdict.UPGRADE and claims["slab"] is None:
        key = "capacity.reason.upgrade_beyond"
    short = delivered["high"] is not None and contracted is not None
    if verdict == Verdict.REPAIR and not (
        short and delivered["high"] < config.thresholds.delivered * contracted
    ):
        key = "capacity.reason.repair_down"
    state = {Verdict.POWER: "power_down", Verdict.LAN: "lan_down"}.get(verdict, "link_down")
    marks = {
        Verdict.LINE_QUALITY: texts.loss(config.thresholds.loss),
    }
    return words(
        key,
        contracted=words("not_measured") if contracted is None else texts.rate(contracted),
        delivered=interval(delivered, texts.rate, words),
        need=texts.rate(claims["need"]),
        slab="" if claims["slab"] is None else texts.rate(claims["slab"]),
        mark=marks.get(verdict, texts.percent(config.thresholds.delivered)),
        share=texts.loss(share_of(available, state)),
        promised=texts.share_down(promised(config, office)),
        loss=interval(claims["loss"], texts.loss, words),
        doubt=doubt(claims, config, words),
    )


def doubt(claims: Claim, config: Config, words: Words) -> str:
    """The first reason why there is no conclusion; empty where there is one."""
    if not claims["doubts"]:
        return ""
    return words(
        f"capacity.doubt.{claims['doubts'][0]}", days=claims["days"], wanted=config.capacity.days
    )


def verdict_name(name: str, words: Words) -> str:
    """A verdict in a word or two."""
    return words(f"capacity.verdict.{name}")


def promised(config: Config, office: Office) -> float:
    """The availability that the contract promises, else the district's mark."""
    link = office.link
    return link.sla if link and link.sla is not None else config.thresholds.availability


def share_of(available: Claim, state: str) -> float:
    """A state's share of the time that is known."""
    seconds = available["seconds"]
    up = sum(seconds[name] for name in ("up", "lan_down", "agent_off"))
    down = sum(seconds[name] for name in ("link_down", "power_down", "unreachable"))
    return float(seconds[state] / (up + down)) if up + down > 0 else 0.0


def _deciding(claims: Claim, verdict: str) -> str:
    """The direction that a verdict rests on: the one that falls shorter of its contract."""

    def ratio(way: str) -> float:
        one = claims["delivered"][way]
        if one["value"] is None or not one["contracted"]:
            return 0.0 if verdict == Verdict.NOT_ENOUGH_EVIDENCE else 2.0
        reference = claims["need"] if verdict == Verdict.UPGRADE else one["contracted"]
        return float(one["value"] / reference)

    return min(WAYS, key=ratio)
