"""What the office's page says of a call: what carried it, where UDP does not come through."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from jharnet_monitor.model import Measurement
from jharnet_monitor.probes.probe import CurrentRuns, Remark

if TYPE_CHECKING:
    from jharnet_monitor.config import Config


def remarks(
    config: Config, run: Measurement, office: CurrentRuns, headquarters: CurrentRuns
) -> Iterator[Remark]:
    """Which transport carried it instead of UDP, or that none did. (To a page, a certificate that
    its browser does not trust looks like a blocked port.)
    """
    transport = run.conditions.get("transport")
    if isinstance(transport, str):
        yield Remark(f"transport.carried.{transport}")
    elif "transports_blocked" in run.conditions:
        tried = str(run.conditions["transports_blocked"])
        yield Remark("transport.none", {"tried": tried})
        if "turn-tls" in tried:
            yield Remark("transport.certificate")
