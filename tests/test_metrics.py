"""The metrics: the contract's names, absent when unknown, never stale, and never a lost scrape."""

from __future__ import annotations

import dataclasses
import doctest
import gzip
import json
import subprocess
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from jharnet_monitor import live as live_module
from jharnet_monitor.clock import ManualClock
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry, text
from jharnet_monitor.metrics.family import OfficeFamily, OfficeView, Point
from jharnet_monitor.metrics.offices import OFFICE_FAMILIES
from jharnet_monitor.metrics.page import metrics_page
from jharnet_monitor.metrics.registry import LiveCollector
from jharnet_monitor.model import Measurement, OfficeState, Outcome
from tests.conftest import find_program
from tests.made_up import NOW, bandwidth, conference, config, district, full, latency, no_data

OPENMETRICS = "application/openmetrics-text; version=1.0.0"

CONTRACT = {
    "office_state": {"office", "state"},
    "probe_success": {"office", "probe"},
    "probe_duration_seconds": {"office", "probe"},
    "probe_last_run_timestamp_seconds": {"office", "probe"},
    "probe_runs_total": {"office", "probe", "outcome"},
    "latency_packets_sent_total": {"office"},
    "latency_packets_received_total": {"office"},
    "latency_rtt_seconds_bucket": {"office", "le"},
    "latency_loss_ratio": {"office"},
    "latency_jitter_seconds": {"office"},
    "bandwidth_bytes_per_second": {"office", "path", "direction"},
    "bandwidth_contracted_bytes_per_second": {"office"},
    "bandwidth_loaded_rtt_seconds": {"office", "path", "direction"},
    "conference_grade": {"office"},
    "conference_ready": {"office", "profile"},
    "conference_mos": {"office", "direction", "media"},
    "conference_loss_ratio": {"office", "direction", "media"},
    "conference_freeze_ratio": {"office", "direction"},
    "loss_threshold_ratio": set(),
    "rtt_threshold_seconds": set(),
}
"""DESIGN.md, "Metrics"."""


def registry(live: Live) -> tuple[MetricsRegistry, ManualClock]:
    """A registry over a live state at the made-up moment."""
    clock = ManualClock(NOW)
    return MetricsRegistry(live, clock), clock


def value(live: Live, name: str, **labels: str) -> float | None:
    """A sample's value at the made-up moment; None when it is absent."""
    return registry(live)[0].get_sample_value(f"jharnet_{name}", labels)


def one_office() -> Live:
    """An office of which nothing is known yet."""
    return Live(config(1))


OFFICE = "golmuri-cum-jugsalai"


@pytest.mark.parametrize("module", [live_module, text], ids=lambda m: m.__name__)
def test_examples_in_docstrings_hold(module: ModuleType) -> None:
    """Every `>>>` example gives what it says."""
    assert doctest.testmod(module).failed == 0


def test_the_names_and_labels_are_the_contracts() -> None:
    """Every metric of the contract is there, with exactly its labels."""
    found = {
        sample.name.removeprefix("jharnet_"): set(sample.labels)
        for metric in registry(full(2))[0].collect()
        for sample in metric.samples
    }
    assert {name: found.get(name) for name in CONTRACT} == CONTRACT
    assert {"name", "name_hi", "office"} <= found["office_info"]


@pytest.mark.parametrize("accept", ["", OPENMETRICS], ids=["text", "openmetrics"])
def test_our_text_says_what_the_library_would(accept: str) -> None:
    """Our quick writer and the library's own, read back, give the same families and samples."""
    live = district()
    live.self_.schedule_missed['odd "job"\\with\nlines'] = 1
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


def _samples(metric: Metric) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(s.name, frozenset(s.labels.items())): s.value for s in metric.samples}


@pytest.mark.server("promtool")
def test_promtool_finds_nothing_to_say() -> None:
    """`promtool check metrics` is clean over a full district and over a bad one."""
    promtool = find_program("promtool")
    assert promtool
    for live in (full(3), district(), one_office()):
        body, _ = registry(live)[0].snapshot().encode("")
        check = subprocess.run(
            [promtool, "check", "metrics"], input=body, capture_output=True, check=False
        )
        assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def test_unknown_is_absent_and_never_zero() -> None:
    """Before anything is measured an office has its state and its contract, and no figures."""
    body, _ = registry(one_office())[0].snapshot().encode("")
    names = {line.split("{")[0] for line in body.decode().splitlines() if "office=" in line}
    assert names == {
        "jharnet_office_info",
        "jharnet_office_state",
        "jharnet_agent_connected",
        "jharnet_bandwidth_contracted_bytes_per_second",
        "jharnet_bandwidth_contracted_upload_bytes_per_second",
        "jharnet_budget_spent_bytes",
    }


def test_a_silent_office_has_loss_and_no_latency() -> None:
    """Where nothing answered the loss is 1 and the probe failed, but there is no round trip."""
    live = one_office()
    live.take(latency(OFFICE, NOW - timedelta(seconds=61), lost=60))
    assert value(live, "latency_loss_ratio", office=OFFICE) == 1
    assert value(live, "probe_success", office=OFFICE, probe="latency") == 0
    assert value(live, "latency_rtt_p50_seconds", office=OFFICE) is None
    assert value(live, "latency_jitter_seconds", office=OFFICE) is None


def test_no_number_is_unknown_too() -> None:
    """A value that is no number is left out, not written as NaN."""
    live = one_office()
    live.take(latency(OFFICE, NOW - timedelta(seconds=61), p50=float("nan")))
    assert value(live, "latency_rtt_p50_seconds", office=OFFICE) is None
    assert b"nan" not in registry(live)[0].snapshot().encode("")[0].lower()


async def test_no_figure_is_stale() -> None:
    """A figure leaves when its successor is clearly missed; when it was taken stays known."""
    live = one_office()
    live.take(latency(OFFICE, NOW - timedelta(seconds=61)))
    live.take(bandwidth(OFFICE, NOW, 4e6, 2e6))
    live.take(conference(OFFICE, NOW, 3))
    metrics, clock = registry(live)
    series = {
        "latency": ("jharnet_latency_loss_ratio", {"office": OFFICE}),
        "bandwidth": (
            "jharnet_bandwidth_bytes_per_second",
            {"office": OFFICE, "path": "jharnet", "direction": "down"},
        ),
        "conference": ("jharnet_conference_grade", {"office": OFFICE}),
    }

    def shown() -> set[str]:
        return {
            k
            for k, (n, labels) in series.items()
            if metrics.get_sample_value(n, labels) is not None
        }

    assert shown() == {"latency", "bandwidth", "conference"}
    await clock.advance(240)
    assert shown() == {"bandwidth", "conference"}
    await clock.advance(6 * 3600)
    assert shown() == {"conference"}
    await clock.advance(24 * 3600)
    assert shown() == set()
    last_run = {"office": OFFICE, "probe": "conference"}
    assert (
        metrics.get_sample_value("jharnet_probe_last_run_timestamp_seconds", last_run)
        == NOW.timestamp()
    )


def test_what_could_not_measure_changes_no_figure() -> None:
    """A run without data is counted; it is no success, no failure, and no zero."""
    live = one_office()
    live.take(conference(OFFICE, NOW - timedelta(hours=1), 3))
    live.take(no_data(OFFICE, "conference", NOW - timedelta(minutes=1)))
    assert value(live, "conference_grade", office=OFFICE) == 3
    assert value(live, "probe_success", office=OFFICE, probe="conference") is None
    runs = {"office": OFFICE, "probe": "conference"}
    assert value(live, "probe_runs_total", outcome="no_data", **runs) == 1
    assert value(live, "probe_runs_total", outcome="ok", **runs) == 1
    assert value(live, "probe_runs_total", outcome="failed", **runs) == 0


def test_rates_are_bytes_by_path_and_direction() -> None:
    """Bits of a probe and of a contract become bytes; each path has its own series."""
    live = one_office()
    live.take(bandwidth(OFFICE, NOW, 8e6, 4e6))
    live.take(bandwidth(OFFICE, NOW, 3.2e6, 1.6e6, "internet"))
    rate = "bandwidth_bytes_per_second"
    assert value(live, rate, office=OFFICE, path="jharnet", direction="down") == 1e6
    assert value(live, rate, office=OFFICE, path="jharnet", direction="up") == 0.5e6
    assert value(live, rate, office=OFFICE, path="internet", direction="down") == 0.4e6
    assert value(live, "bandwidth_contracted_bytes_per_second", office=OFFICE) == 0.5e6
    assert value(live, "uplink_contracted_bytes_per_second") == 34e6 / 8


def test_trains_tell_the_capacity_and_take_no_speed_away() -> None:
    """An estimate between two full tests has its own series; the newer one of both counts."""
    live = one_office()
    live.take(bandwidth(OFFICE, NOW - timedelta(hours=1), 8e6, 4e6))
    values = {"download_capacity_bits_per_second": 16e6, "bytes_spent": 41_000}
    live.take(
        Measurement(OFFICE, "bandwidth", NOW, 1.0, Outcome.OK, None, {"path": "trains"}, values)
    )
    down = {"office": OFFICE, "direction": "down"}
    assert value(live, "bandwidth_capacity_bytes_per_second", **down) == 2e6
    assert value(live, "bandwidth_bytes_per_second", path="jharnet", **down) == 1e6
    assert value(live, "bandwidth_capacity_bytes_per_second", office=OFFICE, direction="up") is None


def test_the_agents_own_view_has_no_series() -> None:
    """What an agent pings by itself serves the outages; the loss of the office is the hub's."""
    live = one_office()
    live.take(latency(OFFICE, NOW - timedelta(seconds=61)))
    mine = latency(OFFICE, NOW - timedelta(seconds=60), lost=60)
    live.take(dataclasses.replace(mine, conditions={"path": "agent_gateway"}))
    assert value(live, "latency_loss_ratio", office=OFFICE) == 0
    body, _ = registry(live)[0].snapshot().encode("")
    assert b"agent_gateway" not in body


def test_ready_follows_the_grade() -> None:
    """A grade is enough for a profile and for all below it."""
    live = one_office()
    live.take(conference(OFFICE, NOW, 2))
    ready = {
        profile: value(live, "conference_ready", office=OFFICE, profile=profile)
        for profile in ("audio", "180p", "360p", "720p")
    }
    assert ready == {"audio": 1, "180p": 1, "360p": 0, "720p": 0}


def test_an_office_is_in_one_state() -> None:
    """Of all states exactly one is 1."""
    live = one_office()
    live.set_state(OFFICE, OfficeState.LAN_DOWN, NOW)
    body, _ = registry(live)[0].snapshot().encode("")
    lines = [
        line for line in body.decode().splitlines() if line.startswith("jharnet_office_state{")
    ]
    assert [line for line in lines if line.endswith(" 1")] == [
        f'jharnet_office_state{{office="{OFFICE}",state="lan_down"}} 1'
    ]
    assert len(lines) == 8


def test_counters_go_on_after_a_restart() -> None:
    """What only grows is handed over as JSON and taken up again; the newest runs are not counted
    twice."""
    before = full(3)
    kept = json.loads(json.dumps(before.counters()))
    after = Live(config(3))
    after.restore_counters(kept)
    for measurement in before.offices[OFFICE].latest.values():
        after.recall(measurement)

    def counters(live: Live) -> dict[str, dict[tuple[str, frozenset[tuple[str, str]]], float]]:
        return {
            m.name: _samples(m)
            for m in LiveCollector(live, ManualClock(NOW)).collect()
            if (m.type in ("counter", "histogram") and "latency" in m.name) or "runs" in m.name
        }

    assert counters(after) == counters(before)
    assert counters(after)["jharnet_latency_rtt_seconds"]


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


def test_the_registry_knows_its_names_without_reading() -> None:
    """`describe` names everything that `collect` gives, so that a clash shows at the start."""
    collector = LiveCollector(full(1), ManualClock(NOW))
    described = {metric.name: metric.type for metric in collector.describe()}
    assert {m.name: m.type for m in collector.collect()}.items() <= described.items()
    with pytest.raises(ValueError, match="Duplicated"):
        Gauge("jharnet_conference_grade", "again", registry=registry(full(1))[0])


def test_other_collectors_are_scraped_beside_ours() -> None:
    """The process's own metrics, and whatever a part of the hub registers, come with the scrape."""
    metrics, _ = registry(one_office())
    Gauge("jharnet_of_a_part", "A part's own", registry=metrics).set(7)
    body = metrics.snapshot().encode(OPENMETRICS)[0].decode()
    assert "\njharnet_of_a_part 7.0\n" in body
    assert "process_resident_memory_bytes" in body
    assert body.count("# EOF") == 1
    assert body.endswith("# EOF\n")


def test_264_offices_are_one_small_scrape() -> None:
    """A whole state goes over the wire in far under a megabyte, as Prometheus asks for it."""
    body, _ = registry(full(264))[0].snapshot().encode(OPENMETRICS)
    assert body.count(b'office="office-200"') > 60
    assert len(gzip.compress(body, 1)) < 300_000


def test_the_page_of_metrics_is_up_to_date() -> None:
    """`exporters/METRICS.md` is what the tables say now."""
    page = Path(__file__).parents[1] / "exporters" / "METRICS.md"
    assert page.read_text(encoding="utf-8") == metrics_page(), (
        "run `python -m jharnet_monitor.metrics.page > exporters/METRICS.md`"
    )
