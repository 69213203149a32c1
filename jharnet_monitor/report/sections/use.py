"""Applications and the use of the lines: one table and one chart."""

from __future__ import annotations

from typing import Any

from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.applications import ServiceUse, overall
from jharnet_monitor.judge.line.use import LineUse
from jharnet_monitor.model import Direction
from jharnet_monitor.report.data.summary import OfficeSummary, Summary
from jharnet_monitor.report.sections import charts


def use(summary: Summary, words: Words) -> dict[str, Any] | None:
    """None where neither services nor routers are configured."""
    if not any(office.services or any(office.use) for office in summary.offices):
        return None
    settings = summary.config.probes.service
    return {
        "title": words("report.use.title"),
        "note": words(
            "report.use.note",
            share=formats.share_whole(settings.ready),
            slow=formats.duration(settings.slow, words),
        ),
        "head": [words(f"report.use.head.{name}") for name in ("block", "ready", "services")],
        "rows": [
            [
                formats.office_name(office.office, words),
                words(f"readiness.{overall(office.services, settings.ready)}"),
                "; ".join(_service(one, words) for one in office.services) or words("not_measured"),
            ]
            for office in summary.offices
        ],
        "chart": _chart(summary, words),
    }


def _service(one: ServiceUse, words: Words) -> str:
    if one.share is None:
        return words("report.use.no_visit", service=one.service)
    share = formats.share(one.share)
    return words("report.use.service", service=one.service, share=share, visits=one.counted)


def _chart(summary: Summary, words: Words) -> dict[str, Any] | None:
    """The 95th percentile of each direction as a share of the contract, like the speed's chart."""
    known = [office for office in summary.offices if any(office.use)]
    if not known:
        return None
    planned = summary.config.capacity.utilisation
    return {
        "title": words("report.use.chart", planned=formats.share_whole(planned)),
        "mark": round(planned / charts.FULL_SPEED, 5),
        "full": round(1 / charts.FULL_SPEED, 5),
        "axis": {"mark": formats.share_whole(planned), "full": formats.share_whole(1.0)},
        "rows": [
            {
                "office": formats.office_name(office.office, words),
                **{
                    direction.value: _bar(office, used, direction, words)
                    for direction, used in zip(Direction, office.use, strict=True)
                },
            }
            for office in known
        ],
    }


def _bar(
    office: OfficeSummary, used: LineUse | None, direction: Direction, words: Words
) -> dict[str, Any]:
    if used is None:
        return {"bar": None, "text": words("not_measured")}
    link, bar = office.office.link, None
    if link is not None:
        ratio = used.p95 / link.rate(direction)
        length = round(min(ratio / charts.FULL_SPEED, 1.0), 5)
        bar = {"length": length, "low": length, "high": length, "left": False}
    text = words("report.use.p95_short", rate=formats.rate(used.p95))
    if used.busy_hour is not None and used.busy_mean is not None:
        text += "; " + words(
            "report.use.busy_short", begin=used.busy_hour, end=used.busy_hour + 1,
            rate=formats.rate(used.busy_mean),
        )  # fmt: skip
    return {"bar": bar, "text": text}
