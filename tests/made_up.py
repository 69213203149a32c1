"""A made-up district for the tests of pages and metrics: every state, grade and gap occurs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.live import Live
from jharnet_monitor.model import Measurement, OfficeState, Outcome

NOW = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)

OFFICES = (
    ("golmuri-cum-jugsalai", "Golmuri-cum-Jugsalai", "गोलमुरी-सह-जुगसलाई"),
    ("patamda", "Patamda", "पटमदा"),
    ("boram", "Boram", "बोड़ाम"),
    ("potka", "Potka", "पोटका"),
    ("dhalbhumgarh", "Dhalbhumgarh", "धालभूमगढ़"),
    ("ghatshila", "Ghatshila", "घाटशिला"),
    ("musabani", "Musabani", "मुसाबनी"),
    ("dumaria", "Dumaria", "डुमरिया"),
    ("chakulia", "Chakulia", "चाकुलिया"),
    ("baharagora", "Baharagora", "बहरागोड़ा"),
    ("gurabanda", "Gurabanda", "गुड़ाबांदा"),
)


def config(offices: int = 11, **hub: Any) -> Config:
    """A configuration without TLS; beyond eleven offices the names are numbers."""
    named = [*OFFICES, *((f"office-{n}", f"Office {n}", f"कार्यालय {n}") for n in range(12, 1000))]
    return Config.model_validate(
        {
            "district": {
                "id": "east-singhbhum",
                "name": "East Singhbhum",
                "name_hi": "पूर्वी सिंहभूम",
            },
            "hub": {"tls": False, "uplink": {"contracted": "34 Mbit/s"}, **hub},
            "offices": [
                {
                    "id": id_,
                    "name": name,
                    "name_hi": name_hi,
                    "router": f"10.{8 + n // 250}.{n % 250}.1",
                    "pc": f"10.{8 + n // 250}.{n % 250}.10",
                    "link": {"contracted": "4 Mbit/s", "kind": "leased-line", "sla": "99.5%"},
                    "agent": {"token_hash_file": f"secrets/{id_}"},
                }
                for n, (id_, name, name_hi) in enumerate(named[:offices])
            ],
        }
    )


def latency(office: str, at: datetime, p50: float = 0.041, lost: int = 0) -> Measurement:
    """One minute of echo requests."""
    received = 60 - lost
    values = {"sent": 60, "received": received, "loss_ratio": lost / 60}
    if received:
        values |= {
            "rtt_min_seconds": p50 * 0.9,
            "rtt_p50_seconds": p50,
            "rtt_p95_seconds": p50 * 1.3,
            "rtt_max_seconds": p50 * 2,
            "jitter_seconds": p50 * 0.05,
            "pdv_seconds": p50 * 0.4,
        }
    outcome, cause = (Outcome.OK, None) if received else (Outcome.FAILED, "no_reply")
    return Measurement(office, "latency", at, 60.0, outcome, cause, {}, values, f"l-{office}-{at}")


def bandwidth(
    office: str, at: datetime, down: float, up: float, path: str = "jharnet"
) -> Measurement:
    """A bandwidth test that succeeded."""
    return Measurement(
        office,
        "bandwidth",
        at,
        2.4,
        Outcome.OK,
        None,
        {"path": path},
        {
            "download_bits_per_second": down,
            "upload_bits_per_second": up,
            "bytes_spent": 1_240_000,
            **(
                {
                    "idle_rtt_seconds": 0.041,
                    "download_loaded_rtt_seconds": 0.184,
                    "upload_loaded_rtt_seconds": 0.231,
                }
                if path == "jharnet"
                else {}
            ),
        },
        f"b-{path}-{office}-{at}",
    )


def conference(office: str, at: datetime, grade: int) -> Measurement:
    """A conference call that was held, well or badly."""
    values = {"grade": float(grade), "setup_seconds": 0.31, "rtt_p95_seconds": 0.09}
    for way in ("down", "up"):
        values |= {
            f"{way}_video_loss_ratio": 0.02 * (4 - grade),
            f"{way}_audio_loss_ratio": 0.01 * (4 - grade),
            f"{way}_frames_per_second": 29.6,
            f"{way}_freeze_ratio": 0.03 * (4 - grade),
            f"{way}_audio_mos": 3.0 + 0.3 * grade,
            f"{way}_bits_per_second": 300_000.0 * (1 + grade),
            f"{way}_height": (0, 0, 180, 360, 720)[grade],
        }
    return Measurement(
        office,
        "conference",
        at,
        33.0,
        Outcome.OK if grade else Outcome.FAILED,
        None if grade else "no_media",
        {"profile": "720p", "limited_by": "rate" if grade < 4 else None},
        values,
        f"c-{office}-{at}",
    )


def utilisation(office: str, at: datetime, down: float, up: float) -> Measurement:
    """Five minutes of an office's traffic, as its router counted it."""
    values = {
        "download_bits_per_second": down,
        "upload_bits_per_second": up,
        "window_seconds": 300.0,
        "router_uptime_seconds": 864_000.0,
        "download_error_ratio": 0.0,
        "upload_error_ratio": 0.0,
        "download_discard_ratio": 0.0,
        "upload_discard_ratio": 0.002,
        "lan_error_ratio": 0.0,
    }
    conditions = {"duplex": "full", "lan_duplex": "full", "lan_errors": False}
    return Measurement(
        office, "utilisation", at, 0.05, Outcome.OK, None, conditions, values, f"u-{office}-{at}"
    )


def path(office: str, at: datetime, p50: float = 0.041) -> Measurement:
    """A trace over three routers; the second clears marks."""
    hops = [
        {"address": f"10.9.0.{n}", "sent": 60, "received": 60, "rtt_p50_seconds": p50 * n / 4}
        for n in range(1, 5)
    ]
    conditions = {
        "target": "router", "reached": True, "protocol": "icmp", "hops": hops, "mtu_bytes": 1400,
        "mtu_black_hole": [3, 4], "mark_cleared_between": {"EF": [2, 3]},
        "marking": {"EF": {"down": "clears", "up": "keeps"}},
    }  # fmt: skip
    values = {"hops": 4.0, "loss_ratio": 0.0, "rtt_p50_seconds": p50, "mtu_bytes": 1400.0}
    return Measurement(
        office, "path", at, 60.0, Outcome.OK, None, conditions, values, f"p-{office}-{at}"
    )


def no_data(office: str, probe: str, at: datetime, cause: str = "no_agent") -> Measurement:
    """A run that could not measure."""
    return Measurement(
        office, probe, at, 0.0, Outcome.NO_DATA, cause, {}, {}, f"n-{probe}-{office}-{at}"
    )


def full(offices: int = 264) -> Live:
    """Every office up, and all values known: the largest possible scrape."""
    live = Live(CurrentConfig(config(offices)))
    for n, office in enumerate(live.config.offices):
        state = live.offices[office.id]
        live.set_state(office.id, OfficeState.UP, NOW - timedelta(hours=3))
        state.last_seen = NOW
        state.agent.connected, state.agent.spooled = True, 0
        state.bytes_spent_today = 12_400_000 + n
        for rtt in (0.038 + n / 9000, 0.041 + n / 7000, 0.3):
            state.count_echo(answered=True, rtt=rtt)
        live.update(latency(office.id, NOW - timedelta(seconds=61), 0.0411 + n / 7000))
        live.update(bandwidth(office.id, NOW - timedelta(minutes=8), 3.91e6 + n, 3.87e6 + n))
        live.update(bandwidth(office.id, NOW - timedelta(hours=2), 3.71e6, 3.37e6, "internet"))
        live.update(conference(office.id, NOW - timedelta(hours=1), 1 + n % 4))
        live.update(utilisation(office.id, NOW - timedelta(minutes=4), 0.9e6 + n, 0.3e6))
        live.update(path(office.id, NOW - timedelta(minutes=12), 0.0411 + n / 7000))
    own = live.hub
    own.url = "https://hub.example.in:9797"
    live.uplink_up, own.started_at, own.office_hours = True, NOW - timedelta(days=2), True
    own.schedule_lag, own.schedule_last_run, own.loop_lag = 0.004, NOW, 0.002
    own.schedule_missed["latency"] = 2
    own.database_bytes, own.disk_free_bytes, own.clock_synchronized = 40_000_000, 9 * 10**9, True
    own.backup_at = own.backup_due = NOW - timedelta(hours=4)
    own.state_push_at = NOW - timedelta(days=2)
    own.report_last_sent = own.report_due = NOW - timedelta(days=2)
    own.reload_success, own.reload_at = True, NOW - timedelta(days=2)
    own.certificate_expires = NOW + timedelta(days=300)
    return live


def district() -> Live:
    """The eleven offices on a bad morning: no two in the same state."""
    live = full(11)
    ids = [office.id for office in live.config.offices]
    for office in live.offices.values():
        for held in (office.latest, office.last_conclusive, office.last_ok):
            held.pop("bandwidth")
    ago = timedelta(minutes=37)
    for office_id, grade, down, up, p50, lost in (
        (ids[0], 4, 9.6e6, 9.4e6, 0.012, 0),
        (ids[1], 3, 3.82e6, 3.61e6, 0.038, 0),
        (ids[2], 4, 3.9e6, 3.88e6, 0.041, 0),
        (ids[3], 2, 1.12e6, 0.47e6, 0.122, 3),
        (ids[4], 4, 3.93e6, 3.87e6, 0.035, 0),
        (ids[5], 3, 3.21e6, 3.4e6, 0.029, 1),
        (ids[6], 3, 3.7e6, 3.62e6, 0.044, 0),
        (ids[7], 1, 0.31e6, 0.22e6, 0.612, 7),
        (ids[8], 3, 3.3e6, 2.9e6, 0.031, 0),
    ):
        live.update(latency(office_id, NOW - timedelta(seconds=60), p50, lost))
        live.update(bandwidth(office_id, NOW - ago, down, up))
        live.update(conference(office_id, NOW - timedelta(minutes=25), grade))
    live.offices[ids[1]].running = ("bandwidth",)
    _down(live, ids[6], OfficeState.UNREACHABLE, timedelta(minutes=52))
    _down(live, ids[8], OfficeState.LAN_DOWN, timedelta(hours=5))
    _down(live, ids[9], OfficeState.UNREACHABLE, timedelta(hours=29))
    agent_off = live.offices[ids[10]]
    live.set_state(ids[10], OfficeState.AGENT_OFF, NOW - timedelta(hours=15))
    agent_off.agent.connected, agent_off.agent.signed_off = False, True
    for held in (agent_off.latest, agent_off.last_conclusive, agent_off.last_ok):
        for key in ("bandwidth/internet", "conference"):
            held.pop(key)
    live.update(latency(ids[10], NOW - timedelta(seconds=60), 0.055))
    live.update(no_data(ids[10], "conference", NOW - timedelta(minutes=25)))
    return live


def _down(live: Live, office_id: str, state: OfficeState, since: timedelta) -> None:
    office = live.offices[office_id]
    live.set_state(office_id, state, NOW - since)
    office.last_seen, office.agent.connected = NOW - since, False
    live.update(latency(office_id, NOW - timedelta(seconds=60), lost=60))
    live.update(no_data(office_id, "conference", NOW - timedelta(minutes=25), "agent_lost"))
