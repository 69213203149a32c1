"""A version that was taken back leaves runs of probes and routes that the present one has not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jharnet_monitor.dossier.verify import verify
from jharnet_monitor.hub import opening
from jharnet_monitor.model import Measurement, Outcome
from jharnet_monitor.report.data.load import summarise
from tests.dossier_support import MADE_AT, filed
from tests.made_up import bandwidth, conference, latency
from tests.test_opening import earlier_run, requested
from tests.test_reload import hub_at_work


def of_a_later_version(office: str, at: datetime) -> list[Measurement]:
    """Runs over a route that is not known, over one that the probe has not, and of no probe."""
    satellite = {"path": "satellite"}
    return [
        replace(latency(office, at), conditions=satellite),
        replace(bandwidth(office, at, 3e6, 3e6), conditions=satellite),
        replace(conference(office, at, 4), conditions=satellite, id="call"),
        bandwidth(office, at, 3e6, 3e6, path="gallery"),
        Measurement(office, "power", at, 1.0, Outcome.OK, values={"volts": 230.0}),
    ]


async def test_a_hub_shows_and_exports_what_it_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No run that it does not know takes the office's page, or the metrics of all offices."""
    monkeypatch.setattr(opening, "PATIENCE_SECONDS", 60.0)
    at = datetime.now(UTC) - timedelta(minutes=2)
    store = earlier_run(tmp_path, at)
    store.add(of_a_later_version("potka", at))
    store.close()
    async with hub_at_work(tmp_path) as one:
        assert one.hub.opening.opened
        assert [*one.hub.live.offices["potka"].latest] == ["latency"]
        for path in ("/metrics", "/office/potka", "/"):
            status, text = await requested(one, path)
            assert status == 200 and "satellite" not in text


def test_reports_and_dossiers_are_made_without_them(tmp_path: Path) -> None:
    """Their figures are those of the known runs; the others stay sealed in the raw data."""
    (tmp_path / "known").mkdir()
    before = filed(tmp_path / "known", 1, 2)
    known = summarise(before.store, before.config, before.period, MADE_AT).offices[0]
    before.store.close()
    later = of_a_later_version(known.office.id, before.period.start + timedelta(hours=7))
    place = filed(tmp_path, 1, 2, more=later)
    found = summarise(place.store, place.config, place.period, MADE_AT).offices[0]
    assert (found.down, found.up, found.conference) == (known.down, known.up, known.conference)
    place.build(tmp_path / "dossier.zip")
    assert verify(tmp_path / "dossier.zip", None, lambda _: None).problems == []
    place.store.close()
