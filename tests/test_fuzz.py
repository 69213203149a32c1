"""A sample of `tests/faults/fuzz.py`, and what it has found."""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path
from typing import Any

import pytest
from gufo.snmp.aio import SnmpSession

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.model import Cause
from jharnet_monitor.probes.base import NoData
from jharnet_monitor.probes.utilisation.snmp import router_session
from jharnet_monitor.rtc.rtp import header_extension
from jharnet_monitor.web import listener
from tests.faults.fuzz import PARTS, Tally
from tests.test_reload import hub_at_work


@pytest.mark.parametrize(
    ("name", "count"),
    [("frames", 300), ("sdp", 100), ("rtp", 500), ("rtcp", 300), ("configuration", 10)],
)
async def test_a_sample_of_strangers_inputs(name: str, count: int) -> None:
    """Nothing crashes, hangs, or lets anybody in."""
    tally = Tally()
    await PARTS[name].run(random.Random(f"sample {name}"), count, tally)
    assert tally.inputs == count
    assert tally.examples == []


def test_a_cut_header_extension_is_none() -> None:
    """One byte of its length was missing: the packet's handler raised `struct.error`."""
    cut = bytes.fromhex("90e0068f00007530000007d1bede00")
    assert header_extension(cut, 3) is None


async def test_a_panic_over_a_routers_answer_is_no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SNMP library panics over some answers; in Python that is no `Exception`, and it
    went through everything that holds the hub's parts together."""

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
    """Anybody could fill the log with tracebacks, and a token in a broken header stood in it."""
    async with hub_at_work(tmp_path) as running:
        host, _, port = running.hub.config.hub.listen.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nAuthorization: Bearer secret\x01\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    assert "secret" not in caplog.text
    assert "Traceback" not in caplog.text
    assert listener._is_our_error(logging.makeLogRecord({"msg": "x"}))
