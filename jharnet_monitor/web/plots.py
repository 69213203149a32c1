"""The plots on an office's page: states, latency, loss, speed and grades over one span. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from jharnet_monitor.config import Config, Office
from jharnet_monitor.i18n.formats import Formats, milliseconds, rate, share, share_floor
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.outages.availability import StateTimes, known_well_enough, state_times
from jharnet_monitor.model import Direction, format_utc
from jharnet_monitor.web.charts import (
    SPANS,
    Chart,
    PlotSpan,
    column_chart,
    grade_chart,
    line_chart,
    speed_chart,
)
from jharnet_monitor.web.glance import Piece, pieces, times_text
from jharnet_monitor.web.plot_data import PlotData

CSV_PROBES = ("latency", "bandwidth", "conference")


@dataclass(frozen=True, slots=True)
class Plot:
    """One chart with its texts; `limit` and `others` are empty where there is none."""

    chart: Chart
    title: str
    summary: str
    top: str
    limit: str
    others: str = ""


@dataclass(frozen=True, slots=True)
class PlotsView:
    """All plots of one span, and the addresses of their figures as tables."""

    span: str
    spans: tuple[str, ...]
    states: tuple[Piece, ...]
    states_text: str
    available: str
    plots: tuple[Plot, ...]
    csv: tuple[tuple[str, str], ...]
    """Probe and address of each table."""


def plots_view(
    config: Config, office: Office, span: PlotSpan, data: PlotData, formats: Formats
) -> PlotsView:
    """Draw what was read of one office."""
    begin, now, t = data.latency.begin, formats.now, formats.words
    times = state_times(data.spans, begin, now)
    query = urlencode({"since": format_utc(begin), "until": format_utc(now)})
    shown = [_latency(config, data, formats), _loss(config, data, formats)]
    return PlotsView(
        span=span.name,
        spans=tuple(SPANS),
        states=tuple(pieces(data.spans, begin, now)),
        states_text=times_text(times, formats, t(f"web.plots.{span.name}")),
        available=_available(times, t),
        plots=tuple(
            plot for plot in (*shown, _speed(config, office, data, formats),
                              _grades(config, data, formats)) if plot is not None
        ),
        csv=tuple(
            (probe, f"/api/v1/offices/{office.id}/measurements.csv?probe={probe}&{query}")
            for probe in CSV_PROBES
        ),
    )  # fmt: skip


def _available(times: StateTimes, words: Words) -> str:
    """The availability with the share of the time that is known; empty if none of it is."""
    if times.availability is None or times.coverage is None:
        return ""
    known = share_floor(times.coverage)
    shown = known_well_enough(times.availability, times.coverage)
    if shown is None:
        return words("web.plots.hardly_known", known=known)
    return words("web.plots.available", share=share_floor(shown), known=known)


def _latency(config: Config, data: PlotData, formats: Formats) -> Plot | None:
    past, t = data.latency, formats.words
    answered = sorted(past.latencies)
    if not answered:
        return None
    chart = line_chart(past, config.thresholds.rtt, formats.zone)
    bucket = formats.duration(past.span.width.total_seconds())
    return Plot(
        chart,
        t("web.office.latency_chart", bucket=bucket),
        t(
            "web.office.latency_summary", median=milliseconds(answered[len(answered) // 2]),
            highest=milliseconds(answered[-1]),
        ),
        milliseconds(chart.top),
        milliseconds(config.thresholds.rtt),
    )  # fmt: skip


def _loss(config: Config, data: PlotData, formats: Formats) -> Plot | None:
    past, t = data.latency, formats.words
    if not past.sent:
        return None
    chart = column_chart(past, config.thresholds.loss, formats.zone)
    lost = share(1 - past.received / past.sent)
    return Plot(
        chart,
        t("web.office.loss_chart"),
        t("web.office.loss_summary", share=lost, n=past.sent),
        ("≥ " if chart.clipped else "") + share(chart.top),
        share(config.thresholds.loss),
    )


def _speed(config: Config, office: Office, data: PlotData, formats: Formats) -> Plot | None:
    if not data.speeds:
        return None
    t, past = formats.words, data.latency
    link = office.link
    contracted = None if link is None else (link.rate(Direction.DOWN), link.rate(Direction.UP))
    delivered = config.thresholds.delivered
    chart = speed_chart(data.speeds, contracted, delivered, past.begin, past.span, formats.zone)
    down = _median([down for _, down, _ in data.speeds])
    up = _median([up for _, _, up in data.speeds])
    return Plot(
        chart,
        t("web.plots.speed"),
        t("web.plots.speed_summary", down=rate(down), up=rate(up), n=len(data.speeds)),
        rate(chart.top),
        "" if contracted is None else t("web.plots.of_contract", share=share(delivered)),
        t("web.plots.speed_lines"),
    )


def _grades(config: Config, data: PlotData, formats: Formats) -> Plot | None:
    if not data.grades:
        return None
    t, past = formats.words, data.latency
    wanted = config.thresholds.grade
    chart = grade_chart(data.grades, wanted, past.begin, past.span, formats.zone)
    good = sum(grade >= wanted for _, grade in data.grades)
    return Plot(
        chart,
        t("web.plots.grades"),
        t("web.plots.grades_summary", good=good, n=len(data.grades)),
        t("grade.4"),
        t(f"grade.{wanted}"),
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def span_named(name: str) -> PlotSpan:
    """The span of that name; a day for any other."""
    return SPANS.get(name, SPANS["day"])


def since_when(moments: Sequence[tuple[datetime, bool]]) -> datetime | None:
    """When the newest unbroken run of true findings began; None if the last one is false.

    >>> from datetime import UTC
    >>> days = [datetime(2026, 11, day, tzinfo=UTC) for day in (1, 2, 3)]
    >>> since_when(list(zip(days, (True, True, True)))).day
    1
    >>> since_when(list(zip(days, (True, False, True)))).day
    3
    """
    found: datetime | None = None
    for at, holds in reversed(moments):
        if not holds:
            break
        found = at
    return found
