"""The metrics: names and labels, absent if not known, never stale."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric

from jharnet_monitor.clock import ManualClock
from jharnet_monitor.config.addresses import hub_url
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.config.schema import Probes
from jharnet_monitor.hub.health import Health
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.live import Live
from jharnet_monitor.metrics import MetricsRegistry
from jharnet_monitor.metrics.registry import LiveCollector
from jharnet_monitor.model import AT_LEAST, Measurement, OfficeState, Outcome
from jharnet_monitor.profiles import Profile
from jharnet_monitor.store import Store
from tests.made_up import NOW, bandwidth, conference, config, full, latency, no_data

CONTRACT = {
    "office_state": {"office", "state"},
    "probe_success": {"office", "probe", "path"},
    "probe_duration_seconds": {"office", "probe", "path"},
    "probe_last_run_timestamp_seconds": {"office", "probe", "path"},
    "probe_runs_total": {"office", "probe", "outcome"},
    "latency_packets_sent_total": {"office"},
    "latency_packets_received_total": {"office"},
    "latency_rtt_seconds_bucket": {"office", "le"},
    "latency_loss_ratio": {"office"},
    "latency_jitter_seconds": {"office"},
    "bandwidth_bytes_per_second": {"office", "path", "direction"},
    "bandwidth_contracted_bytes_per_second": {"office", "direction"},
    "bandwidth_loaded_rtt_seconds": {"office", "path", "direction"},
    "conference_grade": {"office"},
    "conference_ready": {"office", "profile"},
    "conference_mos": {"office", "direction", "media"},
    "conference_loss_ratio": {"office", "direction", "media"},
    "conference_freeze_ratio": {"office", "direction"},
    "loss_threshold_ratio": set(),
    "rtt_threshold_seconds": set(),
}
"""The names and labels that dashboards and rules build on."""


def registry(live: Live) -> tuple[MetricsRegistry, ManualClock]:
    """A registry over a live state at the made-up moment."""
    clock = ManualClock(NOW)
    return MetricsRegistry(live, clock), clock


def value(live: Live, name: str, **labels: str) -> float | None:
    """A sample's value at the made-up moment; None when it is absent."""
    return registry(live)[0].get_sample_value(f"jharnet_{name}", labels)


def one_office() -> Live:
    """An office of which nothing is known yet."""
    return Live(CurrentConfig(config(1)))


OFFICE = "golmuri-cum-jugsalai"


def test_names_and_labels_are_as_documented() -> None:
    """Every metric exists, with exactly its labels."""
    found = {
        sample.name.removeprefix("jharnet_"): set(sample.labels)
        for metric in registry(full(2))[0].collect()
        for sample in metric.samples
    }
    assert {name: found.get(name) for name in CONTRACT} == CONTRACT
    assert {"name", "name_hi", "office"} <= found["office_info"]


def _samples(metric: Metric) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {(s.name, frozenset(s.labels.items())): s.value for s in metric.samples}


def test_unknown_values_are_absent() -> None:
    """Before the first measurement an office has its state and contract, but no values."""
    body, _ = registry(one_office())[0].snapshot().encode("")
    names = {line.split("{")[0] for line in body.decode().splitlines() if "office=" in line}
    assert names == {
        "jharnet_office_info",
        "jharnet_office_availability_target_ratio",
        "jharnet_office_outages_total",
        "jharnet_office_state",
        "jharnet_agent_connected",
        "jharnet_bandwidth_contracted_bytes_per_second",
        "jharnet_budget_spent_bytes",
    }


async def test_the_hubs_addresses_are_exported(tmp_path: Path) -> None:
    """From the first health check on; Grafana's address is empty if there is none."""
    made, clock = config(1, grafana_url="http://10.8.0.2:3000/"), ManualClock(NOW)
    current = CurrentConfig(made)
    live, store = Live(current), Store(f"sqlite:///{tmp_path}/monitor.db", clock)
    store.migrate()
    health = asyncio.create_task(Health(live.hub, current, clock, store).run(lambda: 0.0))
    labels = {"url": hub_url(made.hub), "grafana_url": "http://10.8.0.2:3000"}
    assert value(live, "hub_info", **labels) is None
    await clock.advance(1.0)
    while live.hub.url is None:
        await asyncio.sleep(0.01)
    health.cancel()
    store.close()
    assert value(live, "hub_info", **labels) == 1


def test_a_silent_office_has_loss_and_no_latency() -> None:
    """Without replies the loss is 1 and the probe failed, and there is no RTT."""
    live = one_office()
    live.update(latency(OFFICE, NOW - timedelta(seconds=61), lost=60))
    assert value(live, "latency_loss_ratio", office=OFFICE) == 1
    assert value(live, "probe_success", office=OFFICE, probe="latency", path="jharnet") == 0
    assert value(live, "latency_rtt_p50_seconds", office=OFFICE) is None
    assert value(live, "latency_jitter_seconds", office=OFFICE) is None


def test_only_what_fills_the_line_is_shown_as_running() -> None:
    """Alerts do not judge loss and latency for a quarter of an hour after it."""
    live = one_office()
    live.offices[OFFICE].running = ("path", "bandwidth")
    assert value(live, "probe_running", office=OFFICE, probe="path") is None
    live.offices[OFFICE].filled_by = ("bandwidth",)
    assert value(live, "probe_running", office=OFFICE, probe="bandwidth") == 1
    assert value(live, "probe_running", office=OFFICE, probe="path") is None


def test_what_an_absent_agent_keeps_is_not_known() -> None:
    """Its last message says nothing of what it has measured since."""
    live = full(1)
    assert value(live, "agent_spooled_measurements", office=OFFICE) == 0
    live.offices[OFFICE].agent.connected = False
    assert value(live, "agent_spooled_measurements", office=OFFICE) is None


def test_the_rate_that_counts_against_the_contract() -> None:
    """Of the newest test, a lower bound marked as one; on a policed line of the newest long test,
    as a short one measures the token bucket."""
    live, labels = one_office(), {"office": OFFICE, "direction": "down"}

    def test(minutes: float, **more: object) -> None:
        made = bandwidth(OFFICE, NOW - timedelta(minutes=minutes), 5e6, 4e6)
        values = {**made.values, **({"download_sustained_bits_per_second": 2.98e6} if more else {})}
        live.update(dataclasses.replace(
            made, id=f"b-{minutes}", values=values, conditions={**made.conditions, **more}
        ))  # fmt: skip

    def found() -> tuple[float | None, float | None]:
        rate, open_ = "bandwidth_lasting_bytes_per_second", "bandwidth_lasting_at_least"
        return value(live, rate, **labels), value(live, open_, **labels)

    assert found() == (None, None)
    test(60)
    assert found() == (5e6 / 8, 0)
    test(40, download_limited_by="policer")
    test(20)
    assert found() == (2.98e6 / 8, 0)
    assert value(live, "bandwidth_bytes_per_second", **labels, path="jharnet") == 5e6 / 8
    made = bandwidth(OFFICE, NOW - timedelta(minutes=10), 2e6, 4e6)
    open_ = {**made.conditions, "download_at_least": True}
    live = one_office()
    live.update(dataclasses.replace(made, conditions=open_))
    assert found() == (2e6 / 8, 1)


def test_a_capacity_that_proves_nothing_is_left_out() -> None:
    """A lower bound below the contracted rate: an alert took it for the line's capacity."""
    live, labels = one_office(), {"office": OFFICE, "direction": "down"}
    link = live.config.offices[0].link
    assert link is not None
    made = bandwidth(OFFICE, NOW - timedelta(minutes=10), 3e6, 3e6, "trains")
    for bits, known in ((link.contracted * 0.7, None), (link.contracted * 1.2, 1.2)):
        live.update(dataclasses.replace(
            made, started_at=made.started_at + timedelta(seconds=bits / 1e6), id=f"t-{bits}",
            values={"download_capacity_bits_per_second": bits},
            conditions={"path": "trains", "download_capacity_at_least": True},
        ))  # fmt: skip
        found = value(live, "bandwidth_capacity_bytes_per_second", **labels)
        assert found == (None if known is None else known * link.contracted / 8)


def test_a_refusal_during_a_call_does_not_hide_it() -> None:
    """A planned call that is refused while one is running began later, and ended before it; in
    either order of their records, as after a restart."""
    call = conference(OFFICE, NOW - timedelta(seconds=70), grade=3)
    assert call.duration > 1
    refused = no_data(OFFICE, "conference", call.started_at + timedelta(seconds=1), "conference_on")
    later = no_data(OFFICE, "conference", call.ended_at, "conference_on")
    for records in ((refused, call), (call, refused)):
        live = one_office()
        for record in records:
            live.update(record, NOW)
        assert live.offices[OFFICE].latest["conference"] is call
        assert value(live, "probe_success", office=OFFICE, probe="conference", path="jharnet") == 1
        live.update(later, NOW)
        assert live.offices[OFFICE].latest["conference"] is later


def test_nan_is_left_out() -> None:
    """A value that is not a number is left out."""
    live = one_office()
    live.update(latency(OFFICE, NOW - timedelta(seconds=61), p50=float("nan")))
    assert value(live, "latency_rtt_p50_seconds", office=OFFICE) is None
    assert b"nan" not in registry(live)[0].snapshot().encode("")[0].lower()


async def test_stale_values_are_dropped() -> None:
    """A value disappears once its successor is overdue; the time of the last run stays."""
    live = one_office()
    live.update(latency(OFFICE, NOW - timedelta(seconds=61)))
    live.update(bandwidth(OFFICE, NOW, 4e6, 2e6))
    live.update(conference(OFFICE, NOW, 3))
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
    last_run = {"office": OFFICE, "probe": "conference", "path": "jharnet"}
    assert (
        metrics.get_sample_value("jharnet_probe_last_run_timestamp_seconds", last_run)
        == NOW.timestamp()
    )


async def test_values_follow_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """It was a day ahead after a power cut. What was measured then was shown for a day, and not
    what was measured later; a run that is handed in late still replaces nothing."""
    live, clock = one_office(), ManualClock(NOW + timedelta(days=1))
    current = CurrentConfig(config(1))
    store = Store(f"sqlite:///{tmp_path}/monitor.db", clock)
    store.migrate()
    writer = StoreWriter(store, tmp_path / "waiting.db", live.hub, clock)
    recorder = Recorder(current, writer, live, clock)
    await recorder.record(latency(OFFICE, clock.now() - timedelta(seconds=61)))
    clock.step(-86400)
    for minutes, lost in ((2, 30), (1, 15), (3, 60)):
        await recorder.record(latency(OFFICE, NOW - timedelta(minutes=minutes), lost=lost))
    assert value(live, "latency_loss_ratio", office=OFFICE) == 0.25
    assert live.offices[OFFICE].last_ok["latency"].values["loss_ratio"] == 0.25
    await writer.close()
    store.close()


def test_a_run_without_data_changes_no_value() -> None:
    """It is counted, but is neither success nor failure."""
    live = one_office()
    live.update(conference(OFFICE, NOW - timedelta(hours=1), 3))
    live.update(no_data(OFFICE, "conference", NOW - timedelta(minutes=1)))
    assert value(live, "conference_grade", office=OFFICE) == 3
    assert value(live, "probe_success", office=OFFICE, probe="conference", path="jharnet") is None
    runs = {"office": OFFICE, "probe": "conference"}
    assert value(live, "probe_runs_total", outcome="no_data", **runs) == 1
    assert value(live, "probe_runs_total", outcome="ok", **runs) == 1
    assert value(live, "probe_runs_total", outcome="failed", **runs) == 0


def test_rates_are_bytes_by_path_and_direction() -> None:
    """Bits of a probe and of a contract become bytes; each path has its own series."""
    live = one_office()
    live.update(bandwidth(OFFICE, NOW, 8e6, 4e6))
    live.update(bandwidth(OFFICE, NOW, 3.2e6, 1.6e6, "internet"))
    rate = "bandwidth_bytes_per_second"
    assert value(live, rate, office=OFFICE, path="jharnet", direction="down") == 1e6
    assert value(live, rate, office=OFFICE, path="jharnet", direction="up") == 0.5e6
    assert value(live, rate, office=OFFICE, path="internet", direction="down") == 0.4e6
    contracted = "bandwidth_contracted_bytes_per_second"
    for direction in ("down", "up"):
        assert value(live, contracted, office=OFFICE, direction=direction) == 0.5e6
    assert value(live, "uplink_contracted_bytes_per_second") == 34e6 / 8


def test_packet_trains_have_their_own_series() -> None:
    """An estimate between two full tests does not replace their rate."""
    live = one_office()
    live.update(bandwidth(OFFICE, NOW - timedelta(hours=1), 8e6, 4e6))
    values = {"download_capacity_bits_per_second": 16e6, "bytes_spent": 41_000}
    live.update(
        Measurement(OFFICE, "bandwidth", NOW, 1.0, Outcome.OK, None, {"path": "trains"}, values)
    )
    down = {"office": OFFICE, "direction": "down"}
    assert value(live, "bandwidth_capacity_bytes_per_second", **down) == 2e6
    assert value(live, "bandwidth_bytes_per_second", path="jharnet", **down) == 1e6
    assert value(live, "bandwidth_capacity_bytes_per_second", office=OFFICE, direction="up") is None


def test_the_agents_own_measurements_are_not_exported() -> None:
    """They serve the attribution of outages; the exported loss is the hub's."""
    live = one_office()
    live.update(latency(OFFICE, NOW - timedelta(seconds=61)))
    mine = latency(OFFICE, NOW - timedelta(seconds=60), lost=60)
    live.update(dataclasses.replace(mine, conditions={"path": "agent_gateway"}))
    assert value(live, "latency_loss_ratio", office=OFFICE) == 0
    body, _ = registry(live)[0].snapshot().encode("")
    assert b"agent_gateway" not in body


def test_ready_profiles_follow_from_the_grade() -> None:
    """A grade is enough for a profile and for all below it."""
    live = one_office()
    live.update(conference(OFFICE, NOW, 2))
    ready = {
        profile: value(live, "conference_ready", office=OFFICE, profile=profile)
        for profile in Profile
    }
    assert ready == {"audio": 1, "180p": 1, "360p": 0, "540p": 0, "720p": 0}


@pytest.mark.parametrize(("grade", "higher"), [(3, None), (2, 0)])
def test_a_profile_that_was_not_tried_is_not_known_to_fail(grade: int, higher: int | None) -> None:
    """A call of 360p that held it says nothing of HD; one that did not hold it does."""
    live = one_office()
    tried = dataclasses.replace(conference(OFFICE, NOW, grade), conditions={"profile": "360p"})
    live.update(tried)
    labels = {"office": OFFICE, "profile": "720p"}
    assert value(live, "conference_ready", **labels) == higher
    assert value(live, "conference_ready", **labels | {"profile": "180p"}) == 1


def test_a_call_by_hand_that_tried_less_leaves_the_grade() -> None:
    """The grade is that of the last planned call; the run itself is counted."""
    live = one_office()
    live.update(conference(OFFICE, NOW - timedelta(hours=1), 4))
    less = conference(OFFICE, NOW, 2)
    live.update(dataclasses.replace(less, conditions={"profile": "180p", AT_LEAST: True}))
    assert value(live, "conference_grade", office=OFFICE) == 4
    assert value(live, "probe_runs_total", office=OFFICE, probe="conference", outcome="ok") == 2


@pytest.mark.parametrize(
    ("options", "runs"),
    [({}, 2), ({"at": ["11:00"], "every": "6h"}, 5), ({"at": []}, 0)],
)
def test_planned_conference_tests_are_counted(options: dict[str, object], runs: int) -> None:
    """Tests at times of day and at an interval add up; none planned is a zero, not absent."""
    probes = Probes.model_validate({"conference": options})
    live = Live(CurrentConfig(config(1).model_copy(update={"probes": probes})))
    assert value(live, "conference_planned_runs") == runs


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


def test_packets_are_counted_with_every_reply() -> None:
    """Sent, received and histogram move together, not once a minute; an uncertain round trip is
    in no bucket."""
    live = one_office()
    for answered, rtt in ((True, 0.04), (False, None), (True, None)):
        live.offices[OFFICE].count_echo(answered, rtt)
    assert value(live, "latency_packets_sent_total", office=OFFICE) == 3
    assert value(live, "latency_packets_received_total", office=OFFICE) == 2
    assert value(live, "latency_rtt_seconds_count", office=OFFICE) == 1


def test_counters_continue_after_a_restart() -> None:
    """Counters are restored from JSON, and restored runs are not counted twice."""
    before = full(3)
    kept = json.loads(json.dumps(before.counters()))
    after = Live(CurrentConfig(config(3)))
    after.restore_counters(kept)
    for measurement in before.offices[OFFICE].latest.values():
        after.restore(measurement)

    def counters(live: Live) -> dict[str, dict[tuple[str, frozenset[tuple[str, str]]], float]]:
        return {
            m.name: _samples(m)
            for m in LiveCollector(live, ManualClock(NOW)).collect()
            if (m.type in ("counter", "histogram") and "latency" in m.name) or "runs" in m.name
        }

    assert counters(after) == counters(before)
    assert counters(after)["jharnet_latency_rtt_seconds"]
