"""How claims are written for people: a figure never without its interval and what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jharnet_monitor.config import Config, Office
from jharnet_monitor.judge.assess import WAYS, promised
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
    if claim["high"] is None:
        return words("dossier.at_least", value=value, low=form(claim["low"]))
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
    delivered = claims["delivered"][_deciding(claims, config, verdict)]
    contracted = delivered["contracted"]
    mark = config.thresholds.loss if verdict == Verdict.LINE_QUALITY else None
    state = {Verdict.POWER: "power_down", Verdict.LAN: "lan_down"}.get(verdict, "link_down")
    return words(
        f"capacity.reason.{_kind_of_reason(claims, config, verdict, delivered)}",
        contracted=words("not_measured") if contracted is None else texts.rate(contracted),
        delivered=interval(delivered, texts.rate, words),
        need=texts.rate(claims["need"]),
        slab="" if claims["slab"] is None else texts.rate(claims["slab"]),
        mark=texts.percent(config.thresholds.delivered) if mark is None else texts.loss(mark),
        share=texts.loss(claims["down"][state] or 0.0),
        promised=texts.share_down(promised(config, office)),
        loss=interval(claims["loss"], texts.loss, words),
        doubt=doubt(claims, config, words),
    )


def _kind_of_reason(claims: Claim, config: Config, verdict: str, delivered: Claim) -> str:
    """A verdict may rest on one thing or another."""
    if verdict == Verdict.UPGRADE and claims["slab"] is None:
        return "upgrade_beyond"
    if verdict == Verdict.REPAIR and not falls_short(delivered, config):
        return "repair_down"
    return verdict


def falls_short(delivered: Claim, config: Config) -> bool:
    """Whether a way certainly carries less than the contract asks for."""
    if delivered["high"] is None or delivered["contracted"] is None:
        return False
    return bool(delivered["high"] < config.thresholds.delivered * delivered["contracted"])


def doubt(claims: Claim, config: Config, words: Words) -> str:
    """The first reason why there is no conclusion; empty where there is one."""
    if not claims["doubts"]:
        return ""
    return words(
        f"capacity.doubt.{claims['doubts'][0]}", days=claims["days"], wanted=config.capacity.days
    )


def slab_text(claims: Claim, office: Office, words: Words) -> str:
    """An office with the speed to order for it: `Potka 8 Mbit/s`."""
    key = "slab_beyond" if claims["slab"] is None else "slab"
    return words(
        f"dossier.letter.{key}",
        office=texts.office_name(office, words),
        slab="" if claims["slab"] is None else texts.rate(claims["slab"]),
        need=texts.rate(claims["need"]),
    )


def verdict_name(name: str, words: Words) -> str:
    """A verdict in a word or two."""
    return words(f"capacity.verdict.{name}")


def _deciding(claims: Claim, config: Config, verdict: str) -> str:
    """The direction that a verdict rests on, and if it is both, the one that falls shorter."""

    def shortness(way: str) -> tuple[bool, float]:
        one = claims["delivered"][way]
        if one["value"] is None or not one["contracted"]:
            return False, 0.0 if verdict == Verdict.NOT_ENOUGH_EVIDENCE else 2.0
        if verdict == Verdict.UPGRADE:
            below = one["high"] is not None and one["high"] < claims["need"] > one["contracted"]
            return not below, float(one["value"] / claims["need"])
        short = verdict == Verdict.REPAIR and falls_short(one, config)
        return not short, float(one["value"] / one["contracted"])

    return min(WAYS, key=shortness)
