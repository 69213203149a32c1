"""Input from outside is bounded where it enters: none of it can break what follows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from jharnet_monitor.agent.spool import Spool
from jharnet_monitor.clock import ManualClock
from jharnet_monitor.errors import StoreError
from jharnet_monitor.hub import agent_server, row_quota
from jharnet_monitor.hub.row_quota import RowQuota
from jharnet_monitor.model import QUANTITIES, Cause, Measurement, Outcome
from jharnet_monitor.probes.base import ChannelClosed, NoData, Reading, measurement_of
from jharnet_monitor.wire import protocol
from jharnet_monitor.wire.intake import (
    BROWSER,
    PROGRAM,
    Vitals,
    read_batch,
    read_beat,
    read_vitals,
)
from jharnet_monitor.wire.protocol import Channels, ProtocolError, decode
from tests.test_session import TOKENS, Endpoint, measurement

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HELLO = {"type": "hello", "protocol": 1, "boot_id": "b", "uptime_seconds": 1, "spooled": 0}


def refused(**changes: Any) -> str:
    """Why an item with these changes is refused; empty when it is not."""
    item = {**measurement("m1", at=NOW).to_json(), **changes}
    batch = read_batch({"items": [item]}, "potka", NOW)
    assert len(batch.accepted) + len(batch.refused) == 1
    return batch.refused[0]["why"] if batch.refused else ""


def test_a_sane_measurement_is_taken() -> None:
    """As the agent makes it."""
    assert refused() == "" == refused(id="potka_9f3c0a12b4d6-17")


@pytest.mark.parametrize(
    "changes",
    [
        {"duration_seconds": 1e300},
        {"duration_seconds": -1.0},
        {"started_at": "9999-12-31T00:00:00Z"},
        {"started_at": "1970-01-01T00:00:00Z"},
        {"values": {"sent": 9.2e18}},
        {"values": {"sent": 1, "rtt_p50_seconds": 1.7e308}},
        {"values": {"loss_ratio": float("nan")}},
        {"conditions": {"path": "agent_hub", "bytes_spent": -1e18}},
        {"conditions": {"path": "agent_hub", "bytes_spent": float("nan")}},
        {"conditions": {"path": "agent_hub", "x": "y" * 5000}},
        {"conditions": {"path": "agent_hub", "x": {"y": {"z": 1}}}},
        {"conditions": {"path": "agent_hub", "x": 10**400}},
        {"conditions": {"path": "agent_hub"} | {str(n): n for n in range(100)}},
        {"id": '=HYPERLINK("http://x")'},
        {"id": "+1"},
        {"id": "boram_9f3c0a12b4d6-17"},
        {"id": "hub.9f3c0a12b4d6-17"},
        {"round_trips": [4112, None]},
        {"round_trips": [0.5]},
        {"cause": "=1+1", "outcome": "failed"},
    ],
    ids=str,
)
def test_what_cannot_be_true_is_refused(changes: Mapping[str, Any]) -> None:
    """A duration, a time, a figure, an id or a condition beyond all bounds."""
    assert refused(**changes) != ""


def test_a_page_hands_in_its_own_latency_alone() -> None:
    """It may not speak for a gateway, by which outages are judged, nor a program for a page."""
    page, gateway = {"path": "page_hub"}, {"path": "agent_gateway"}
    for kind, conditions, taken in (
        (BROWSER, page, True), (BROWSER, gateway, False),
        (PROGRAM, gateway, True), (PROGRAM, page, False),
    ):  # fmt: skip
        frame = {"items": [{**measurement("m1", at=NOW).to_json(), "conditions": conditions}]}
        assert bool(read_batch(frame, "potka", NOW, kind=kind).accepted) is taken, (
            kind,
            conditions,
        )


def test_a_numbered_heartbeat_is_answered_by_its_number_and_the_time() -> None:
    """By which a page times the round trip and sets its clock; other numbers are refused."""
    assert read_beat({}, NOW) == {"type": "beat"}
    assert read_beat({"n": 7}, NOW) == {"type": "beat", "n": 7, "now": NOW.timestamp()}
    for wrong in ("7", 7.5, -1, 10**30, True, [7]):
        with pytest.raises(ProtocolError):
            read_beat({"n": wrong}, NOW)


@pytest.mark.parametrize(
    "vital",
    [
        {"uptime_seconds": 1e300},
        {"uptime_seconds": float("nan")},
        {"uptime_seconds": -1},
        {"spooled": -5},
        {"spooled": 10**30},
        {"boot_id": ""},
        {"boot_id": "a\nb"},
    ],
    ids=str,
)
def test_vitals_that_cannot_be_true_are_refused(vital: Mapping[str, Any]) -> None:
    """An uptime of 1e300 s or of NaN broke every later review."""
    with pytest.raises(ProtocolError):
        read_vitals({**HELLO, **vital})
    assert read_vitals(HELLO).uptime == 1


@pytest.mark.parametrize(
    ("probe", "values"),
    [
        ("utilisation", {"router_uptime_seconds": 1e300}),
        ("utilisation", {"download_bits_per_second": -5.0}),
        ("conference", {"grade": 7.0}),
        ("bandwidth", {"bytes_spent": -1e18}),
        ("bandwidth", {"download_bits_per_second": float("inf")}),
    ],
)
def test_a_reading_that_cannot_be_true_is_no_data(probe: str, values: dict[str, float]) -> None:
    """What a router or a browser reports beyond all bounds never becomes a figure."""
    made = measurement_of("potka", probe, Reading(values, {"path": "jharnet"}), NOW, 1.0)
    assert (made.outcome, made.cause, dict(made.values)) == (Outcome.NO_DATA, Cause.BAD_REPORT, {})
    assert next(iter(values)) in made.conditions["detail"]
    kept = measurement_of("potka", probe, NoData(Cause.TIMEOUT, values=values), NOW, 1.0)
    assert not kept.values


def test_every_quantity_has_a_range() -> None:
    """The ranges stand in the table of quantities, by unit or by quantity."""
    assert all(low < high < float("inf") for low, high in (q.range for q in QUANTITIES))


def test_deep_nesting_is_a_broken_frame() -> None:
    """Deeply nested JSON raised RecursionError inside the WebSocket."""
    with pytest.raises(ProtocolError, match="not JSON"):
        decode('{"type":' + "[" * 200_000)


class Silent:
    """A socket whose other end reads nothing back."""

    async def send_str(self, data: str) -> None:
        """Take it."""


async def test_a_channel_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """2000 unread messages of 1 MB each were held in memory."""
    monkeypatch.setattr(protocol, "MAX_QUEUED_BYTES", 1000)
    channels = Channels(Silent())
    channel = channels.new()
    for _ in range(5):
        channels.take({"type": "channel", "id": 1, "data": {"x": "y"}}, 300)
    await asyncio.sleep(0)
    assert [await channel.receive() for _ in range(3)] == [{"x": "y"}] * 3
    with pytest.raises(ChannelClosed, match="too many"):
        await channel.receive()


async def _hello(http: aiohttp.ClientSession, door: Endpoint) -> aiohttp.ClientWebSocketResponse:
    headers = {"Authorization": f"Bearer {TOKENS['potka']}"}
    socket = await http.ws_connect(door.url, params={"office": "potka"}, headers=headers)
    await socket.send_json(HELLO)
    return socket


async def test_nothing_is_acknowledged_before_it_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A full disk must not make the agent delete what it measured; its
    heartbeats are answered meanwhile."""
    monkeypatch.setattr(agent_server, "FIRST_STORE_RETRY_SECONDS", 0.05)
    async with Endpoint().open() as door, aiohttp.ClientSession() as http:
        failures = 3

        async def full(office: str, measurements: list[Measurement]) -> None:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise StoreError("disk full")
            door.events.stored.update({m.id: m for m in measurements})

        monkeypatch.setattr(door.events, "agent_measured", full)
        socket = await _hello(http, door)
        assert (await socket.receive_json())["type"] == "welcome"
        own = measurement("m1", office="potka").to_json()
        await socket.send_json({"type": "measurements", "items": [own]})
        await socket.send_json({**HELLO, "type": "heartbeat"})
        assert (await socket.receive_json(timeout=5))["type"] == "beat"
        assert not door.events.stored
        answer = await socket.receive_json(timeout=5)
        assert answer == {"type": "ack", "ids": ["m1"], "refused": []}
        assert set(door.events.stored) == {"m1"}


@pytest.mark.parametrize(("errors", "tries", "ids"), [(1, 2, ["m1"]), (2, 3, ["m1"]), (9, 3, [])])
async def test_a_batch_that_an_unexpected_error_stops_is_tried_three_times(
    monkeypatch: pytest.MonkeyPatch, errors: int, tries: int, ids: list[str]
) -> None:
    """Then it is refused by the ids of its measurements, and the next batch is stored."""
    monkeypatch.setattr(agent_server, "FIRST_STORE_RETRY_SECONDS", 0.05)
    async with Endpoint().open() as door, aiohttp.ClientSession() as http:
        tried = 0

        async def broken(office: str, measurements: list[Measurement]) -> None:
            nonlocal tried
            tried += 1
            if measurements[0].id == "m1" and tried <= errors:
                raise OverflowError("date value out of range")

        monkeypatch.setattr(door.events, "agent_measured", broken)
        socket = await _hello(http, door)
        assert (await socket.receive_json())["type"] == "welcome"
        await socket.send_str(_batch("m1"))
        answer = await socket.receive_json(timeout=30)
        assert (answer["type"], answer["ids"], tried) == ("ack", ids, tries)
        if ids:
            assert answer["refused"] == []
        else:
            assert [one["id"] for one in answer["refused"]] == ["m1"]
            assert "could not record it" in answer["refused"][0]["why"]
        await socket.send_str(_batch("m2"))
        assert (await socket.receive_json(timeout=30))["ids"] == ["m2"]


async def test_a_session_that_fails_at_its_start_leaves_no_ghost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error or a slow store at the start left the office connected for ever."""
    async with Endpoint().open() as door, aiohttp.ClientSession() as http:

        async def broken(office: str, vitals: Vitals) -> None:
            raise OverflowError("in itself")

        monkeypatch.setattr(door.events, "agent_connected", broken)
        socket = await _hello(http, door)
        closed = await socket.receive(timeout=5)
        assert closed.type is aiohttp.WSMsgType.CLOSE and closed.data == 1011
        assert door.agents.get("potka") is None
        assert door.events.leaves == [("potka", False)]


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "\ud800"},
        {"id": "m2", "probe": "\ud800"},
        {"id": "m2", "conditions": {"\ud800": 1}},
        {"id": "m2", "cause": "\udfff", "outcome": "no_data"},
        {"id": "m2", "values": {"\ud800": 1.0}},
    ],
    ids=ascii,
)
async def test_halves_of_characters_do_not_keep_a_batch_from_its_answer(
    caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    """The answer could not be sent: the task that stores the batch died, and the agent sent all of
    it again for ever."""
    async with Endpoint().open() as door, aiohttp.ClientSession() as http:
        socket = await _hello(http, door)
        assert (await socket.receive_json(timeout=5))["type"] == "welcome"
        sane = measurement("m1").to_json()
        await socket.send_json({"type": "measurements", "items": [sane | changes, sane]})
        answer = await socket.receive_json(timeout=5)
        assert (answer["type"], answer["ids"]) == ("ack", ["m1"])
        [refusal] = answer["refused"]
        assert refusal["id"] == ascii(changes["id"]).strip("'")
        refusal["why"].encode()
    caplog.text.encode()


@pytest.mark.parametrize("name", ["a\nb", "a\0b"])
def test_the_name_of_a_condition_is_printable(name: str) -> None:
    """Also inside another condition."""
    assert "cannot be true" in refused(conditions={"path": "agent_hub", name: 1})
    assert "cannot be true" in refused(conditions={"path": "agent_hub", "host": {name: 1}})


async def test_a_new_token_ends_the_session_of_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `token --force` the old agent stayed connected."""
    monkeypatch.setattr(agent_server, "RECHECK_SECONDS", 0.0)
    async with Endpoint().open() as door, aiohttp.ClientSession() as http:
        socket = await _hello(http, door)
        assert (await socket.receive_json())["type"] == "welcome"
        monkeypatch.setitem(TOKENS, "potka", "another")
        await socket.send_json({**HELLO, "type": "heartbeat"})
        closed = await socket.receive(timeout=5)
        assert closed.type is aiohttp.WSMsgType.CLOSE and closed.data == 4401


async def test_two_agents_with_one_token_do_not_take_turns(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They replaced each other every second, and no log gave the reason."""
    async with Endpoint().open() as door, aiohttp.ClientSession() as http:
        sockets = [await _hello(http, door) for _ in range(1)]
        for _ in range(agent_server.MOST_REPLACEMENTS):
            sockets.append(await _hello(http, door))
            assert (await sockets[-1].receive_json(timeout=5))["type"] == "welcome"
        rival = await _hello(http, door)
        closed = await rival.receive(timeout=5)
        assert closed.type is aiohttp.WSMsgType.CLOSE and closed.data == 4409
        assert "two agents use the token of potka" in caplog.text
        await sockets[-1].send_json({**HELLO, "type": "heartbeat"})
        assert (await sockets[-1].receive_json(timeout=5))["type"] == "beat"


async def test_one_office_cannot_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit on rows let one office's agent fill the disk for all."""
    monkeypatch.setattr(row_quota, "ROWS_PER_DAY", 10)
    monkeypatch.setattr(row_quota, "_CHECK_SECONDS", 60.0)
    clock = ManualClock(NOW)
    quota = RowQuota(clock)
    assert await quota.wait("potka", 10, _is_there)
    waiting = asyncio.create_task(quota.wait("potka", 1, _is_there))
    assert await quota.wait("boram", 10, _is_there)
    await clock.advance(3600)
    assert not waiting.done()
    await clock.advance(timedelta(days=1).total_seconds())
    assert waiting.done()


def _is_there() -> bool:
    return False  # the session is not gone


def _batch(name: str) -> str:
    own = measurement(name).to_json()
    return json.dumps({"type": "measurements", "items": [own]})


async def _none_is_waiting(door: Endpoint) -> bool:
    """Whether a second or so later no batch of the office waits."""
    async with asyncio.timeout(5):
        while door.agents._storing["potka"]:
            await asyncio.sleep(0.05)
    return True


async def test_batches_of_ended_sessions_do_not_wait_for_the_next_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They filled the hub's memory, and the next day's quota, so that nothing of it was stored."""
    monkeypatch.setattr(row_quota, "ROWS_PER_DAY", 1)
    async with Endpoint().open() as door, aiohttp.ClientSession() as http:
        assert await door.agents._quota.wait("potka", 1, _is_there)
        for number in range(2):
            socket = await _hello(http, door)
            assert (await socket.receive_json())["type"] == "welcome"
            for n in range(agent_server.MOST_BATCHES):
                await socket.send_str(_batch(f"m{number}-{n}"))
            await socket.send_json({**HELLO, "type": "heartbeat"})
            assert (await socket.receive_json(timeout=5))["type"] == "beat"
            await socket.close()
        assert await _none_is_waiting(door)
        monkeypatch.setattr(row_quota, "PERIOD_SECONDS", 0.0)  # the next day
        socket = await _hello(http, door)
        assert (await socket.receive_json())["type"] == "welcome"
        await socket.send_str(_batch("m2"))
        assert (await socket.receive_json(timeout=5))["ids"] == ["m2"]
        assert set(door.events.stored) == {"m2"}


async def test_batches_of_an_office_are_bounded_whatever_its_sessions_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each session could leave four more of them in the hub's memory while the store was slow."""
    async with Endpoint().open() as door, aiohttp.ClientSession() as http:
        stored, most = asyncio.Event(), agent_server.MOST_BATCHES_OF_OFFICE

        async def slow(office: str, measurements: list[Measurement]) -> None:
            await stored.wait()

        monkeypatch.setattr(door.events, "agent_measured", slow)
        for number in range(most // agent_server.MOST_BATCHES + 1):
            socket = await _hello(http, door)
            assert (await socket.receive_json())["type"] == "welcome"
            for n in range(agent_server.MOST_BATCHES):
                await socket.send_str(_batch(f"m{number}-{n}"))
            await socket.send_json({**HELLO, "type": "heartbeat"})
            answer = await socket.receive(timeout=5)
            await socket.close()
        assert answer.type is aiohttp.WSMsgType.CLOSE and answer.data == 1013
        assert len(door.agents._storing["potka"]) == most
        stored.set()
        assert await _none_is_waiting(door)
        socket = await _hello(http, door)
        assert (await socket.receive_json())["type"] == "welcome"
        await socket.send_str(_batch("m9"))
        assert (await socket.receive_json(timeout=5))["ids"] == ["m9"]


async def test_what_a_hub_refuses_is_kept_for_a_newer_one(tmp_path: Path) -> None:
    """An agent deleted measurements that an older hub did not know."""
    spool = Spool(tmp_path)
    spool.put(measurement("new"))
    spool.set_aside(["new"], "1.0")
    spool.retry("1.0")
    assert spool.peek(10) == []
    spool.retry("1.1")
    assert [m.id for m in spool.peek(10)] == ["new"]
