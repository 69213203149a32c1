"""The assessment of a line as text for people: figures with their interval and their basis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import isinf

from jharnet_monitor.config import Config, Office
from jharnet_monitor.config.schema import Thresholds
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.line.assess import Assessment, LineDirection, thresholds_for
from jharnet_monitor.judge.line.contract import promised_availability
from jharnet_monitor.judge.line.cures import Cure
from jharnet_monitor.judge.line.grounds import (
    Condition,
    Doubt,
    LineVerdict,
    NeedRange,
    Note,
    VerdictReason,
)
from jharnet_monitor.judge.line.need import Need
from jharnet_monitor.judge.statistics.intervals import Interval
from jharnet_monitor.judge.twin.prediction import GRADES
from jharnet_monitor.judge.twin.stored_whatif import (
    CHANGES_COMPARED,
    CHANGES_RIGHT,
    UNSEEN_LINKS,
    UNSEEN_RIGHT,
)

BEST = GRADES - 1


def interval(
    found: Interval | Need | None, form: formats.FigureFormat, words: Words, few: str | None = None
) -> str:
    """Value and interval, such as `3.9 (3.85 to 3.94) Mbps`. `few` is shown with a value without
    an interval, instead of the words for that.
    """
    if found is None:
        return words("not_measured")
    high = None if found.high is None or isinf(found.high) else found.high
    figures = [figure for figure in (found.value, found.low, high) if figure is not None]
    parts = [form(figure, figures) for figure in figures]
    if found.low is None:
        return words("dossier.no_interval", value=parts[0]) if few is None else parts[0] + few
    if high is None:
        return words("dossier.at_least", value=parts[0], low=parts[1])
    units = {text.rpartition(" ")[2] for text in parts}
    unit = ""
    if len(units) == 1 and not any(text.startswith(("<", ">")) for text in parts):
        unit = f" {units.pop()}"
        parts = [text.rpartition(" ")[0] for text in parts]
    return words("dossier.interval", value=parts[0], low=parts[1], high=parts[2], unit=unit)


def made_up_texts(words: Words) -> list[str]:
    """The mark across each page of a made-up paper, and what it means."""
    return [words("made_up.mark"), words("made_up.told")]


def rests(found: Interval | None, words: Words, key: str = "rests") -> str:
    """The number of tests and days behind a figure; empty without tests."""
    if found is None or not found.n:
        return ""
    return words(f"dossier.{key}", n=found.n, days=words("report.days", n=found.days))


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
    rate_text = formats.rate(down) if down == up else formats.both_rates(down, up)
    return (
        words("capacity.at_least", rate=rate_text) if any(n.at_least for n in needs) else rate_text
    )


def delivered_rates(found: Assessment, words: Words, few: str | None = None) -> list[str]:
    """What is delivered in each direction; once that nothing was measured, if so in both."""
    medians = [side.delivered.median for side in found.directions]
    if not any(medians):
        return [words("not_measured")]
    return [interval(one, formats.rate, words, few) for one in medians]


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
    """The reason for the verdict, for which needs it holds, and what is shown with it."""
    sentences = [
        _main_reason(found, config, office, words),
        holds(found.holds, found.verdict, words),
    ]
    if found.doubts and found.verdict is not LineVerdict.NOT_ENOUGH_EVIDENCE:
        sentences.append(words("capacity.doubted", doubt=doubt(found, config, words)))
    sentences += notes(found, words)
    sentences.append(estimate(found, words))
    return " ".join(sentence for sentence in sentences if sentence)


def _main_reason(found: Assessment, config: Config, office: Office, words: Words) -> str:
    side = _deciding(found, config, office)
    limits, total, inside = config.thresholds, found.line.outages.total, found.line.outages.office
    down = {LineVerdict.POWER: inside.power, LineVerdict.LAN: inside.lan}
    by_day = found.verdict is LineVerdict.NEED_NOT_MET
    link = inside.link if by_day else total.link
    quality = found.verdict is LineVerdict.LINE_QUALITY
    share = formats.share_whole(limits.delivered)
    loss = found.line.loss
    seen = loss.night if found.ground.condition is Condition.OFF_HOURS else loss.office
    if quality and found.ground.reason is VerdictReason.CORE:
        seen = loss.idle
    return words(
        f"capacity.reason.{kind_of_reason(found)}",
        contracted=words("not_measured")
        if side.contracted is None
        else formats.rate(side.contracted),
        delivered=interval(side.delivered.median, formats.rate, words),
        carried=interval(side.carried, formats.rate, words),
        need=_need(side.need, words),
        slab="" if found.slab is None else formats.rate(found.slab),
        mark=formats.share(limits.loss) if quality else share,
        framing=formats.share(limits.framing),
        share=formats.share(down.get(found.verdict, link)),
        link=formats.share(total.link),
        power=formats.share(inside.power),
        unknown=formats.share(total.unexplained),
        promised=formats.share_floor(
            limits.availability if by_day else promised_availability(config, office)
        ),
        loss=interval(seen, formats.share, words),
        night=interval(loss.night, formats.share, words),
        doubt=doubt(found, config, words),
    )


def kind_of_reason(found: Assessment) -> str:
    """The kind of reason for the verdict; its text is under `capacity.reason`."""
    verdict, ground = found.verdict, found.ground
    if verdict is LineVerdict.UPGRADE and found.slab is None:
        return "upgrade_beyond"
    if verdict is LineVerdict.LINE_QUALITY and ground.reason is VerdictReason.CORE:
        return f"{verdict}_core"
    if verdict is LineVerdict.LINE_QUALITY and ground.condition is not Condition.ALWAYS:
        return f"{verdict}_{ground.condition}"
    several = verdict in (LineVerdict.REPAIR, LineVerdict.NEED_NOT_MET)
    if several and ground.reason in (VerdictReason.CORE, VerdictReason.DOWN):
        return f"{verdict}_{ground.reason}"
    return verdict.value


def loss_is_low_outside(found: Assessment, config: Config) -> bool:
    """Whether the loss outside office hours is certainly within its standard."""
    night = found.line.loss.night
    if night is None or night.days < config.capacity.days:
        return False
    return night.below(config.thresholds.loss)


def holds(found: NeedRange | None, verdict: LineVerdict, words: Words) -> str:
    """The needs for which a verdict stays the same (its break-even); empty without any."""
    if found is None:
        return ""
    if verdict is LineVerdict.NOT_ENOUGH_EVIDENCE:
        kind = "open"
    else:
        kind = "from" if found.high is None else "between" if found.low else "up_to"
    low, high = (formats.rate(end or 0.0) for end in (found.low, found.high))
    return words(f"capacity.holds.{kind}", low=low, high=high)


def notes(found: Assessment, words: Words) -> list[str]:
    """What is reported with the verdicts, one sentence each."""
    outages = found.line.outages
    each = outages.off_seconds / outages.nights if outages.nights else 0.0
    since = (side.delivered.since for side in found.directions)
    changes = [day for day in since if day is not None]
    return [
        words(
            f"capacity.note.{note}",
            nights=outages.nights,
            length=formats.duration(each, words),
            faults=outages.shared,
            shared=formats.duration(outages.shared_seconds, words),
            power=formats.share(outages.office.power),
            changed=formats.day(max(changes), words) if changes else "",
        )
        for note in found.notes
        if note is not Note.SHARED  # stated once for all offices
    ]


def estimate(found: Assessment, words: Words) -> str:
    """What simulated calls say would cure the conference, marked as an estimate; empty without
    enough of them. It names the speed that is asked for, else the next one, and the repair.
    """
    answers = found.line.cures.answers
    rates = [one.change.rate for one in answers if one.change.rate is not None]
    rate = found.slab if found.slab in rates else min(rates, default=None)
    parts = [_estimated(one, words) for one in answers if one.change.rate in (rate, None)]
    if not parts:
        return ""
    return words("capacity.estimate.text", parts="; ".join(parts))


def _estimated(cure: Cure, words: Words) -> str:
    rate, repaired = cure.change.rate, cure.change.loss is not None
    kind = "both" if rate and repaired else "rate" if rate else "loss"
    grade = words(f"call.other.{cure.grade}" if cure.grade else "grade.0")
    return words(
        "capacity.estimate.part",
        change=words(f"capacity.estimate.{kind}", rate=formats.rate(rate)),
        grade=words("capacity.estimate.better", grade=grade) if 0 < cure.grade < BEST else grade,
        share=formats.share_floor(cure.share),
        calls=words("capacity.estimate.calls", n=cure.calls),
    )


def estimate_trust(found: Iterable[Assessment], words: Words) -> str:
    """How far the estimates can be trusted; empty if there is none. A paper states it once."""
    if not any(estimate(one, words) for one in found):
        return ""
    return words(
        "capacity.estimate.trust", links=UNSEEN_LINKS, right=UNSEEN_RIGHT,
        pairs=CHANGES_COMPARED, same=CHANGES_RIGHT,
    )  # fmt: skip


def doubt(found: Assessment, config: Config, words: Words) -> str:
    """The first doubt about the verdict; empty if there is none."""
    if not found.doubts:
        return ""
    first = found.doubts[0]
    days = doubt_days(found, first)
    wanted = config.capacity.days
    if not days and f"capacity.doubt.no_{first}" in words:
        return words(f"capacity.doubt.no_{first}", wanted=wanted)
    return words(f"capacity.doubt.{first}", days=days, wanted=wanted)


def doubt_days(found: Assessment, doubt_: Doubt) -> int:
    """The days on which the quantity that a doubt is about was measured."""
    if doubt_ is Doubt.FEW_RATE_DAYS:
        rates = [side.delivered.median for side in found.directions]
        return min(0 if rate is None else rate.days for rate in rates)
    if doubt_ is Doubt.FEW_LOSS_DAYS:
        return 0 if found.line.loss.night is None else found.line.loss.night.days
    return found.line.days


def slabs_text(
    config: Config, offices: Mapping[str, Assessment], words: Words, *, named: bool = True
) -> str:
    """The speeds to order, each with its offices: `8 Mbit/s (Potka and Boram)`. Where the sentence
    names the offices already (not `named`), they stand here only if the speeds differ.
    """
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
    if len(groups) == 1 and not named:
        return next(iter(groups))
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


def _deciding(found: Assessment, config: Config, office: Office) -> LineDirection:
    """The direction that decides the verdict; if both do, the one that falls shorter."""
    verdict, limits = found.verdict, thresholds_for(config, office)

    def shortness(side: LineDirection) -> tuple[bool, float]:
        median, contracted, need = side.delivered.median, side.contracted, side.need
        if median is None or not contracted:
            return False, 0.0 if verdict is LineVerdict.NOT_ENOUGH_EVIDENCE else 2.0
        if verdict in (LineVerdict.UPGRADE, LineVerdict.NEED_NOT_MET):
            larger = contracted * (1 + limits.margin) if verdict is LineVerdict.UPGRADE else 0.0
            below = median.below(need.low) and larger < need.low
            return not below, median.value / need.value
        if found.ground.reason is VerdictReason.CORE and side.carried is not None:
            return not side.carried.below(limits.mark(contracted)), side.carried.value / contracted
        short = verdict is LineVerdict.REPAIR and median.below(limits.mark(contracted))
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
        framing=formats.share(thresholds.framing),
        availability=formats.share_floor(thresholds.availability),
    )
