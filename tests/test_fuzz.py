"""A sample of `tests/faults/fuzz.py`, and the faults that it has found."""

from __future__ import annotations

import asyncio
import logging
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
from gufo.snmp.aio import SnmpSession

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.dossier.archive import ArchiveError, Reader
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData
from jharnet_monitor.probes.utilisation.snmp import router_session
from jharnet_monitor.rtc.rtp import header_extension
from jharnet_monitor.web import listener
from tests.faults.fuzz import PARTS, Tally
from tests.made_up_hub import MadeUpHub
from tests.test_reload import hub_at_work
from tests.web_support import BEARER, Client


@pytest.mark.parametrize(
    ("name", "count"),
    [("frames", 300), ("sdp", 100), ("rtp", 500), ("rtcp", 300), ("configuration", 10)],
)
async def test_a_sample_of_strangers_inputs(name: str, count: int) -> None:
    """No input crashes or hangs the hub, or gives access."""
    tally = Tally()
    await PARTS[name].run(random.Random(f"sample {name}"), count, tally)
    assert tally.inputs == count
    assert tally.examples == []


def test_a_cut_header_extension_is_none() -> None:
    """One byte of its length was missing: the packet's handler raised `struct.error`."""
    cut = bytes.fromhex("90e0068f00007530000007d1bede00")
    assert header_extension(cut, 3) is None


async def test_a_panic_over_a_routers_answer_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SNMP library panics over some answers; in Python that is no `Exception`, and it passed
    every handler that keeps the hub's parts running."""

    class PanicException(BaseException):
        """As pyo3 makes it."""

    async def panic(*_: Any) -> None:
        raise PanicException("index out of bounds")

    monkeypatch.setattr(SnmpSession, "refresh", panic)
    settings = Snmp.model_validate({"interface": "x", "community_file": "x"})
    settings = settings.model_copy(update={"community_file": None})
    with pytest.raises(NoData) as caught:
        async with router_session(settings, "127.0.0.1", SystemClock()):
            pass
    assert caught.value.cause is Cause.BAD_REPORT


async def test_what_is_no_http_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody could fill the log with tracebacks, and the log contained a token from a broken
    header."""
    async with hub_at_work(tmp_path) as running:
        host, _, port = running.hub.config.hub.listen.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nAuthorization: Bearer secret\x01\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text
    assert listener._is_our_error(logging.makeLogRecord({"msg": "x"}))


def test_an_archive_with_a_negative_offset_is_no_dossier(tmp_path: Path) -> None:
    """An archive whose directory lies about its own size ended `verify` with a traceback."""
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x05\x06") + 16  # where the directory begins, as the end record says
    raw[at : at + 4] = (int.from_bytes(raw[at : at + 4], "little") + 40).to_bytes(4, "little")
    path.write_bytes(raw)
    with pytest.raises(ArchiveError, match="more than the files that it lists"):
        Reader(path)


async def test_a_page_starts_no_probe_that_needs_options(client: Client, hub: MadeUpHub) -> None:
    """It said that the probe was started, and the log had a traceback."""
    hub.probe_names = (*hub.probe_names, "service")  # type: ignore[assignment]
    answer = await client.post("/office/potka/probes/service", headers=BEARER)
    assert answer.status == 400
    assert (hub.requested, hub.acts) == ([], [])
