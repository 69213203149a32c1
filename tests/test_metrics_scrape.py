"""The scrape: its text, its size, and errors of single metrics."""

from __future__ import annotations

import gzip
import subprocess

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.metrics.offices import OFFICE_FAMILIES
from jharnet_monitor.metrics.registry import LiveCollector
from jharnet_monitor.probes.families import OfficeFamily, OfficeView, Point
from tests.conftest import find_program
from tests.made_up import NOW, config, district, full

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
OFFICE = "golmuri-cum-jugsalai"


def registry(live: Live) -> tuple[MetricsRegistry, ManualClock]:
    """A registry over a live state at the made-up moment."""
    clock = ManualClock(NOW)
    return MetricsRegistry(live, clock), clock


def _samples(metric: Metric) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(s.name, frozenset(s.labels.items())): s.value for s in metric.samples}


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_our_text_equals_the_librarys(accept: str) -> None:
    """Parsed, our text and the library's give the same families and samples."""
    live = district()
    live.hub.schedule_missed['odd "job"\\with\nlines'] = 1
    metrics, _ = registry(live)
    body, content_type = metrics.snapshot().encode(accept)
    parse = parse_openmetrics if accept else parse_text
    read = {m.name: m for m in parse(body.decode()) if m.name.startswith("jharnet_")}
    again = CollectorRegistry()
    again.register(LiveCollector(live, ManualClock(NOW)))
    if accept:
        assert "openmetrics" in content_type
        expected = {m.name: m for m in again.collect()}
    else:
        expected = {m.name: m for m in parse(generate_latest(again).decode())}
    assert {n: (m.type, m.documentation) for n, m in read.items()} == {
        n: (m.type, m.documentation) for n, m in expected.items()
    }
    for name, metric in expected.items():
        assert _samples(read[name]) == pytest.approx(_samples(metric), rel=1e-9)


@pytest.mark.server("promtool")
def test_promtool_accepts_the_metrics() -> None:
    """`promtool check metrics` reports nothing."""
    promtool = find_program("promtool")
    assert promtool
    for live in (full(3), district(), Live(CurrentConfig(config(1)))):
        body, _ = registry(live)[0].snapshot().encode("")
        check = subprocess.run(
            [promtool, "check", "metrics"], input=body, capture_output=True, check=False
        )
        assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def _named(
    samples: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str
) -> dict[str, float]:
    return {dict(labels)["office"]: v for (n, labels), v in samples.items() if n == name}


def test_a_reader_that_fails_costs_only_its_own_samples(caplog: pytest.LogCaptureFixture) -> None:
    """An error in one metric of one office is counted and logged; the rest is scraped."""

    def broken(view: OfficeView) -> list[Point]:
        if view.office.id == "patamda":
            raise ZeroDivisionError
        return [((), 5)]

    families = (OfficeFamily("broken", "gauge", "Breaks", broken), *OFFICE_FAMILIES)
    collector = LiveCollector(full(3), ManualClock(NOW), families)
    found = {name: samples for m in collector.collect() for name, samples in _samples(m).items()}
    assert _named(found, "jharnet_broken") == {"golmuri-cum-jugsalai": 5, "boram": 5}
    assert set(_named(found, "jharnet_latency_loss_ratio")) == {OFFICE, "patamda", "boram"}
    assert found["jharnet_metrics_errors_total", frozenset()] == 1
    assert "metric broken could not be read" in caplog.text
    again = {name: samples for m in collector.collect() for name, samples in _samples(m).items()}
    assert again["jharnet_metrics_errors_total", frozenset()] == 2


def test_describe_names_all_metrics() -> None:
    """`describe` has all names that `collect` returns, so that clashes show at the start."""
    collector = LiveCollector(full(1), ManualClock(NOW))
    described = {metric.name: metric.type for metric in collector.describe()}
    assert {m.name: m.type for m in collector.collect()}.items() <= described.items()
    with pytest.raises(ValueError, match="Duplicated"):
        Gauge("jharnet_conference_grade", "again", registry=registry(full(1))[0])


def test_other_collectors_are_scraped_with_ours() -> None:
    """The process metrics and other registered collectors are scraped, too."""
    metrics, _ = registry(Live(CurrentConfig(config(1))))
    Gauge("jharnet_of_a_part", "A part's own", registry=metrics).set(7)
    body = metrics.snapshot().encode(OPENMETRICS)[0].decode()
    assert "\njharnet_of_a_part 7.0\n" in body
    assert "process_resident_memory_bytes" in body
    assert body.count("# EOF") == 1
    assert body.endswith("# EOF\n")


def test_264_offices_are_one_small_scrape() -> None:
    """The compressed scrape of a whole state is far below a megabyte."""
    body, _ = registry(full(264))[0].snapshot().encode(OPENMETRICS)
    assert body.count(b'office="office-200"') > 60
    assert len(gzip.compress(body, 1)) < 300_000
