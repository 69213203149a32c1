"""Can one Prometheus scrape the whole state (24 districts, 264 offices) and evaluate all rules?

    python -m tests.bench.metrics_scale [--quick] [--json FILE] [--seed N]

A real Prometheus with the shipped rules scrapes hubs with a full live state: once one hub of 264
offices (the largest scrape), once 24 hubs of 11. The times are those that Prometheus reports: of
its scrapes, including parsing and storing, and of each evaluation of a group of rules. The cost of
a scrape at the hub alone and its size are measured by `tests.bench.scrape`.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import yaml

from tests.bench.marks import Row, arguments, at_most, finish, note
from tests.exporters_support import EXPORTERS, free_port, get_json, made_up_hub, prometheus

LAYOUTS = ((1, 264), (24, 11))
"""Number of hubs, and of offices of each."""
RULES_SECONDS = 0.5


def main() -> int:
    """Measure; returns 0 if all marks are met."""
    options = arguments(__doc__)
    seconds = 20.0 if options.quick else 60.0
    rows: list[Row] = []
    for hubs, offices in LAYOUTS:
        with tempfile.TemporaryDirectory() as directory:
            rows += asyncio.run(measure(Path(directory), hubs, offices, seconds))
    return finish("One Prometheus over 264 offices, scraped every second", rows, options)


async def measure(directory: Path, hubs: int, offices: int, seconds: float) -> list[Row]:
    """Let Prometheus scrape and evaluate for a while, then query how long that took."""
    async with AsyncExitStack() as stack:
        ports = []
        for number in range(hubs):
            place = directory / str(number)
            place.mkdir()
            ports.append(await stack.enter_async_context(made_up_hub(place, offices)))
        gc.collect()
        gc.freeze()  # as the hub does after its start
        return await asyncio.to_thread(_watch, directory, ports, seconds, f"{hubs} x {offices}")


def _watch(directory: Path, ports: list[int], seconds: float, name: str) -> list[Row]:
    port = free_port()
    with prometheus(configuration(directory, ports, port), directory, port) as url:
        time.sleep(seconds)
        window = f"[{seconds:.0f}s]"
        of_hubs = f'{{job="jharnet-monitor"}}{window}'
        scrapes = _all(url, f"scrape_duration_seconds{of_hubs}")
        evaluations = _all(url, f"prometheus_rule_group_last_duration_seconds{window}")
        together = worst(url, f"sum(prometheus_rule_group_last_duration_seconds){window[:-1]}:1s]")
        samples = worst(url, "sum(scrape_samples_scraped{job='jharnet-monitor'})[5s:1s]")
        bytes_ = worst(url, f"max_over_time(scrape_body_size_bytes{of_hubs})[1s:1s]")
        failed = worst(url, f"sum(prometheus_rule_evaluation_failures_total){window[:-1]}:1s]")
        offices = worst(url, "sum(jharnet:offices:count_by_state)[5s:1s]")
    assert offices == 264, f"the rules see {offices:g} offices"
    p99 = quantiles(scrapes, n=100)[98]
    return [
        note(f"{name}: scrape and storing, median", median(scrapes) * 1e3, "ms"),
        note(f"{name}: scrape and storing, p99", p99 * 1e3, "ms"),
        note(f"{name}: one scrape, uncompressed", bytes_, "bytes"),
        at_most(f"{name}: all rules once, worst", together, RULES_SECONDS, "s"),
        note(f"{name}: slowest group, worst", max(evaluations), "s"),
        at_most(f"{name}: rules that failed", failed, 0, ""),
        note(f"{name}: samples a round", samples, ""),
    ]


def configuration(directory: Path, ports: list[int], own: int) -> Path:
    """The shipped rules, evaluated as often as everything is scraped."""
    targets = [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"district": f"district-{number}"}}
        for number, port in enumerate(ports)
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(EXPORTERS / "prometheus" / "rules" / "*.yml")],
        "scrape_configs": [
            {"job_name": "jharnet-monitor", "static_configs": targets},
            {"job_name": "prometheus", "static_configs": [{"targets": [f"127.0.0.1:{own}"]}]},
        ],
    }
    file = directory / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), "utf-8")
    return file


def _series(url: str, expr: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = get_json(f"{url}/api/v1/query", query=expr)["data"]["result"]
    assert answer, f"nothing for {expr}"
    return answer


def _all(url: str, expr: str) -> list[float]:
    """Every value of every series in a range."""
    return [float(value) for series in _series(url, expr) for _, value in series["values"]]


def worst(url: str, expr: str) -> float:
    """The largest value in a range."""
    return max(_all(url, expr))


if __name__ == "__main__":
    sys.exit(main())
