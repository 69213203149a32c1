"""The weekly mails: the report for its recipients, the chain's root for outside recipients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.i18n.words import Words, words
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.mail.message import Enclosure, InlineImage, MailContent, Mailing
from jharnet_monitor.report.data.load import summarise
from jharnet_monitor.report.data.summary import Summary
from jharnet_monitor.report.output.build import make
from jharnet_monitor.report.output.compose import drafts
from jharnet_monitor.report.output.document import content
from jharnet_monitor.report.output.files import OutputFile
from jharnet_monitor.report.output.html import render_html
from jharnet_monitor.report.output.pdf import render_png
from jharnet_monitor.report.sections.rating import judge
from jharnet_monitor.store import Store

_RULE = "\n\n" + "-" * 60 + "\n\n"


def read_and_make(
    config: Config, period: Period, now: datetime
) -> tuple[list[Mailing], list[OutputFile]]:
    """Like `weekly_mails`, from the configured database."""
    store = Store(config.hub.database, SystemClock())
    try:
        return weekly_mails(store, config, period, now)
    finally:
        store.close()


def weekly_mails(
    store: Store, config: Config, period: Period, now: datetime
) -> tuple[list[Mailing], list[OutputFile]]:
    """A week's files, and its mails if recipients are configured for them.

    Reads and typesets everything and therefore blocks for seconds. Raises `TypesettingError`,
    `StoreError`.
    """
    store.chain.seal()
    summary = summarise(store, config, period, now)
    settings = config.report
    letter, files = report_letter(summary, settings.languages)
    mailings = [Mailing(period.stem, settings.to, letter)]
    root = root_letter(summary, settings.languages)
    if root is not None:
        mailings.append(Mailing(f"root-{period.name}", settings.roots_to, root))
    return [one for one in mailings if one.recipients], files


def report_letter(
    summary: Summary, languages: Sequence[str]
) -> tuple[MailContent, list[OutputFile]]:
    """The mail with the report, and the report's files; raises `TypesettingError`."""
    files = list(make(drafts(summary, languages), ["pdf"]))
    parts = [_part(summary, words(language)) for language in languages]
    pictures = tuple(
        InlineImage(part["picture"], render_png("mail.typ", part["doc"], summary.made_at))
        for part in parts
    )
    letter = MailContent(
        subject=" · ".join(part["subject"] for part in parts),
        text=_RULE.join("\n".join(_lines(part)) for part in parts) + "\n",
        html=render_html("mail.html.j2", {"parts": parts}).decode(),
        pictures=pictures,
        enclosures=tuple(Enclosure(one.name, "application/pdf", one.content) for one in files),
        root=summary.root,
    )
    return letter, files


def root_letter(summary: Summary, languages: Sequence[str]) -> MailContent | None:
    """The mail with the period's root; None if nothing of the period is sealed yet."""
    if summary.root is None:
        return None
    texts, subjects = [], []
    for language in languages:
        one = words(language)
        doc = content(summary, one)
        named = {name: doc[name] for name in ("period", "days", "district")}
        subjects.append(one("mail.root.subject", **named))
        texts.append(
            "\n\n".join(
                [
                    one("mail.root.value", **named) + "\n" + summary.root,
                    one("mail.root.why"),
                    one("mail.root.how", root=summary.root),
                    one("mail.automatic"),
                ]
            )
        )
    return MailContent(" · ".join(subjects), _RULE.join(texts) + "\n", root=summary.root)


def _part(summary: Summary, one: Words) -> dict[str, Any]:
    """The parts of the mail in one language."""
    doc = content(summary, one)
    named = {name: doc[name] for name in ("title", "period", "district")}
    return {
        "doc": doc,
        "subject": _subject(summary, one, named),
        "hub": one("mail.hub", url=summary.config.hub.url) if summary.config.hub.url else "",
        "picture": f"charts-{one.language}",
        "alt": one("mail.picture"),
        "enclosed": one("mail.enclosed"),
        "automatic": one("mail.automatic"),
    }


def _subject(summary: Summary, one: Words, named: Mapping[str, str]) -> str:
    """The subject, with the answer where there is one."""
    judged = judge(summary)
    if summary.made_up:
        return f"{one('made_up.mark')}: {one('mail.subject', **named)}"
    if all(each.group == "untested" for each in judged):
        return one("mail.subject", **named)
    able = sum(each.group == "able" for each in judged)
    return one("mail.subject_result", able=able, total=len(judged), **named)


def _lines(part: Mapping[str, Any]) -> Iterator[str]:
    """The same as plain text, line by line."""
    doc = part["doc"]
    yield f"{doc['title']}: {doc['period']} ({doc['days']})"
    yield doc["district"]
    if doc["made_up"]:
        yield doc["made_up"][1]
    yield ""
    for number, sentence in enumerate(doc["front"]["sentences"], 1):
        yield f"{number}. {sentence}"
    yield ""
    for row in doc["front"]["rows"]:
        acts = "; ".join(f"{found['cause']} ({found['act']})" for found in row["findings"])
        speed = f"{row['speed']} ({row['contract']})"
        action = f"; {acts or row['nothing']}" if doc["front"]["acting"] else ""
        yield f"{row['office']}: {row['answer']}; {speed}{action}"
    yield ""
    yield from filter(None, (*doc["front"]["doubts"], part["hub"]))
    yield from (part["enclosed"], doc["integrity"], part["automatic"])
