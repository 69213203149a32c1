"""The table of metrics of the district, of the thresholds and of the monitor itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import chain
from zoneinfo import ZoneInfo

from jharnet_monitor import __version__
from jharnet_monitor.config.schema import Thresholds
from jharnet_monitor.live import HubStatus
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.families import DistrictView, Family, Point


def _one(
    value: Callable[[DistrictView], float | bool | None],
) -> Callable[[DistrictView], Iterator[Point]]:
    """A reader of a single value; None means unknown and yields no sample."""

    def read(view: DistrictView) -> Iterator[Point]:
        figure = value(view)
        if figure is not None:
            yield (), float(figure)

    return read


def _own(
    value: Callable[[HubStatus], float | bool | datetime | None],
) -> Callable[[DistrictView], Iterator[Point]]:
    """A reader of one value of the hub's own status."""

    def read(view: DistrictView) -> Iterator[Point]:
        known = value(view.live.hub)
        if known is not None:
            yield (), known.timestamp() if isinstance(known, datetime) else float(known)

    return read


def _threshold(value: Callable[[Thresholds], float]) -> Callable[[DistrictView], Iterator[Point]]:
    return _one(lambda view: value(view.config.thresholds))


def _missed(view: DistrictView) -> Iterable[Point]:
    return (((task,), count) for task, count in view.live.hub.schedule_missed.items())


def _restarts(view: DistrictView) -> Iterable[Point]:
    return (((part,), count) for part, count in view.live.hub.parts.restarts.items())


def _refused_weeks(view: DistrictView) -> Iterable[Point]:
    return (((week, why), 1) for week, why in view.live.hub.state_push_refused.items())


def _district(view: DistrictView) -> Iterable[Point]:
    district = view.config.district
    yield (district.id, district.name, district.name_hi), 1


def _utc_offset(view: DistrictView) -> Iterable[Point]:
    here = view.now.astimezone(ZoneInfo(view.config.district.timezone))
    offset = here.utcoffset()
    if offset is not None:
        yield (here.tzname() or view.config.district.timezone,), offset.total_seconds()


def _uplink_since(view: DistrictView) -> Iterable[Point]:
    if view.live.uplink_since is not None:
        yield (), view.live.uplink_since.timestamp()


def _hub(view: DistrictView) -> Iterable[Point]:
    url = view.live.hub.url
    if url is not None:
        yield (url, view.config.hub.grafana_url or ""), 1


DISTRICT_FAMILIES: tuple[Family, ...] = (
    Family("district_info", "info", "The district that this hub serves; always 1", _district,
           ("district", "name", "name_hi")),
    Family("district_utc_offset_seconds", "gauge",
           "Offset of the district's clocks from UTC, with the zone's name", _utc_offset,
           ("zone",)),
    Family("offices_open", "gauge", "1 while the offices are open, by the district's calendar",
           _own(lambda own: own.office_hours)),
    Family("uplink_up", "gauge", "1 while headquarters' own uplink answers, 0 while it does not",
           _one(lambda view: view.live.uplink_up)),
    Family("uplink_since_timestamp_seconds", "gauge",
           "When `uplink_up` last changed",
           _uplink_since),
    Family("uplink_contracted_bytes_per_second", "gauge", "Rate of headquarters' shared uplink",
           _one(lambda view: view.config.hub.uplink.contracted / 8)),
    Family("uplink_budget_spent_bytes", "gauge", "Bytes that headquarters' own tests spent today",
           _one(lambda view: view.live.headquarters.bytes_spent_today)),
    *chain.from_iterable(probe.district_metrics for probe in PROBES.values()),
    Family("budget_bytes", "gauge", "Bytes that heavy probes may spend a day and office",
           _one(lambda view: view.config.budget)),
    Family("loss_threshold_ratio", "gauge", "Packet loss over this is a breach",
           _threshold(lambda t: t.loss)),
    Family("rtt_threshold_seconds", "gauge", "A round-trip time over this is a breach",
           _threshold(lambda t: t.rtt)),
    Family("jitter_threshold_seconds", "gauge", "Jitter over this is a breach",
           _threshold(lambda t: t.jitter)),
    Family("loaded_rtt_threshold_seconds", "gauge",
           "A round-trip time over this while the line is full is a breach",
           _threshold(lambda t: t.loaded_rtt)),
    Family("delivered_threshold_ratio", "gauge",
           "A delivered share of the contracted rate under this is a breach",
           _threshold(lambda t: t.delivered)),
    Family("grade_threshold", "gauge", "A conference grade under this is a breach",
           _threshold(lambda t: t.grade)),
    Family("outage_threshold_seconds", "gauge",
           "An office that has not answered for this long raises an alert",
           _threshold(lambda t: t.outage)),
    Family("flapping_threshold", "gauge",
           "Outages of an office within half an hour that count as flapping",
           _threshold(lambda t: t.flapping)),
    Family("build_info", "info", "The version that runs; always 1",
           lambda view: [((__version__,), 1)], ("version",)),
    Family("hub_info", "info", "Address of the hub, and of Grafana if there is one; always 1",
           _hub, ("url", "grafana_url")),
    Family("agents_connected", "gauge", "Agents connected now",
           _one(lambda view: sum(o.agent.connected for o in view.live.offices.values()))),
    Family("schedule_lag_seconds", "gauge", "How late the last job began",
           _own(lambda own: own.schedule_lag)),
    Family("schedule_last_run_timestamp_seconds", "gauge", "When the last job began",
           _own(lambda own: own.schedule_last_run)),
    Family("schedule_missed_runs_total", "counter", "Runs that were due but not started", _missed,
           ("task",)),  # Prometheus uses `job` itself
    Family("event_loop_lag_seconds", "gauge", "How late the event loop last woke up",
           _own(lambda own: own.loop_lag)),
    Family("clock_synchronized", "gauge", "1 while the machine's clock is disciplined, else 0",
           _own(lambda own: own.clock_synchronized)),
    Family("clock_steps_total", "counter", "Steps of the wall clock seen",
           _own(lambda own: own.clock_steps)),
    Family("database_size_bytes", "gauge", "Size of the database",
           _own(lambda own: own.database_bytes)),
    Family("database_errors_total", "counter", "Writes to the database that failed",
           _own(lambda own: own.database_errors)),
    Family("database_waiting_writes", "gauge",
           "Records waiting on disk while the database accepts none",
           _own(lambda own: own.writes_waiting)),
    Family("database_dropped_writes_total", "counter",
           "Records lost because the waiting queue was full",
           _own(lambda own: own.writes_dropped)),
    Family("database_set_aside_records", "gauge",
           "Records on disk that the database refused",
           _own(lambda own: own.writes_set_aside)),
    Family("database_failing", "gauge", "1 while the database accepts no rows, else 0",
           _own(lambda own: own.database_failing)),
    Family("part_restarts_total", "counter",
           "Parts of the hub that failed and were started again", _restarts, ("part",)),
    Family("disk_free_bytes", "gauge", "Free space on the disk of the database",
           _own(lambda own: own.disk_free_bytes)),
    Family("report_last_sent_timestamp_seconds", "gauge", "When a weekly report was last sent",
           _own(lambda own: own.report_last_sent)),
    Family("report_due_timestamp_seconds", "gauge", "When the newest weekly report was due",
           _own(lambda own: own.report_due)),
    Family("backup_last_success_timestamp_seconds", "gauge",
           "When the hub's newest backup was made and shipped", _own(lambda own: own.backup_at)),
    Family("backup_due_timestamp_seconds", "gauge", "When the newest backup was due",
           _own(lambda own: own.backup_due)),
    Family("backup_failures_total", "counter", "Attempts to make or ship a backup that failed",
           _own(lambda own: own.backup_failures)),
    Family("state_push_last_success_timestamp_seconds", "gauge",
           "When the state took the newest signed week", _own(lambda own: own.state_push_at)),
    Family("state_push_failures_total", "counter",
           "Attempts to hand a week in to the state that failed",
           _own(lambda own: own.state_push_failures)),
    Family("state_push_refused", "gauge",
           "1 for each week of the last four that the state refused for good, with its reason",
           _refused_weeks, ("week", "reason")),
    Family("report_failures_total", "counter", "Attempts to send a report that failed",
           _own(lambda own: own.report_failures)),
    Family("config_last_reload_successful", "gauge",
           "1 when the last attempt to read the configuration succeeded, else 0",
           _own(lambda own: own.reload_success)),
    Family("config_last_reload_success_timestamp_seconds", "gauge",
           "When the configuration in force was read", _own(lambda own: own.reload_at)),
    Family("certificate_expiry_timestamp_seconds", "gauge", "When the hub's certificate expires",
           _own(lambda own: own.certificate_expires)),
)  # fmt: skip
"""All metrics without the label `office`."""
