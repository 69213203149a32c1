"""Writes the page of metrics and quantities from their tables."""

from __future__ import annotations

from collections.abc import Iterable

from jharnet_monitor.help.generate.markdown import NOTE, code
from jharnet_monitor.live import RTT_BOUNDS
from jharnet_monitor.metrics.district import DISTRICT_FAMILIES
from jharnet_monitor.metrics.offices import OFFICE_FAMILIES
from jharnet_monitor.metrics.registry import ERRORS_FAMILY
from jharnet_monitor.model import LIVE_STATES, QUANTITIES, Outcome
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.families import Family, OfficeFamily
from jharnet_monitor.profiles import Profile

_INTRODUCTION = f"""\
# Metrics

{NOTE}

The hub serves them at `/metrics`, as Prometheus text or, when asked, as OpenMetrics. The scrape
configuration adds the label `district` to each.

- Base units throughout: seconds, bytes, ratios from 0 to 1. Rates are in bytes per second, as IP
  rate; multiply by 8 for the bits of a contract.
- What is not known is **absent**, never 0 and never the last value for ever: a series ends when
  its next measurement is clearly missed. `jharnet_probe_last_run_timestamp_seconds` stays and
  shows since when.
- A run that could not measure (`no_data`: no agent, budget spent, host overloaded) counts in
  `jharnet_probe_runs_total` and changes no figure.
- Counters continue after a restart of the hub.
- Thresholds are set in the configuration and exported, so that a rule compares series with
  series: `jharnet_latency_loss_ratio > on() group_left() jharnet_loss_threshold_ratio`.
"""


def metrics_page() -> str:
    """The page as Markdown."""
    return "\n".join(
        [
            _INTRODUCTION,
            "## Of every office\n",
            "Each has the label `office` and those named here.\n",
            *_table(OFFICE_FAMILIES),
            "",
            *_label_values(),
            "",
            "## Of the district, its thresholds and the monitor itself\n",
            *_table((*DISTRICT_FAMILIES, ERRORS_FAMILY)),
            "",
            "The client library adds its own: `process_*` and `python_info`.\n",
            "## Quantities\n",
            "What a probe measures, by the names of the API, the reports and the CSV files.\n",
            *_quantities(),
            "",
        ]
    )


def _table(families: Iterable[Family | OfficeFamily]) -> list[str]:
    return ["| metric | type | labels | meaning |", "|---|---|---|---|"] + [
        f"| `{f.full_name}` | {f.kind} | {code(f.labels)} | {f.help} |" for f in families
    ]


def _label_values() -> list[str]:
    grades = ", ".join(f"`{profile}` from grade {profile.required_grade}" for profile in Profile)
    return [
        f"- `state`: {code(LIVE_STATES)}",
        f"- `probe`: {code(PROBES)}",
        f"- `outcome`: {code(Outcome)}",
        "- `cause`: `link_down`, `power_down`, or `unreachable` where it could not be told",
        "- `path`: `jharnet` (between office and headquarters), `trains` (the same, by packet "
        "trains only), `internet`; of the probe `service` the service",
        "- `direction`: `down` towards the office, `up` from it",
        "- `media`: `audio`, `video`",
        f"- `profile`: {grades}",
        f"- `le`: {code(f'{bound:g}' for bound in RTT_BOUNDS)} seconds",
    ]


def _quantities() -> list[str]:
    return ["| probe | quantity | unit | meaning | in Hindi |", "|---|---|---|---|---|"] + [
        f"| {q.probe} | `{q.name}` | {q.unit.replace('_', ' ')} | {q.help} | {q.label.hi} |"
        for q in QUANTITIES
    ]
