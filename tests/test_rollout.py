"""The rollout at the hub: who gets a version when, why others wait, and what may be published.

A real hub, to whose port sessions speak the protocol as agents do, with reports of the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tempfile
import time
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import pytest
import yaml
from pydantic import ValidationError

from jharnet_monitor.config.updates import UpdateSettings
from jharnet_monitor.errors import UserError
from jharnet_monitor.handover.releases import Releases
from jharnet_monitor.hub import daemon as hub_daemon
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.hub.rollout import FILE, Rollout, read_rollout, write_rollout
from jharnet_monitor.hub.update_round import PIECE_BYTES, on_the_line
from jharnet_monitor.hub.updates import TAKES_NONE
from jharnet_monitor.wire.intake import read_vitals
from jharnet_monitor.wire.protocol import Channels, SessionChannel, decode
from tests.faults.installation import TOKEN, Installation
from tests.no_schedule import zone_at_noon
from tests.update_support import PATIENCE, hub_at, small_bundle

OLD, NEW = "7.0.0", "7.1.0"
SERIAL = 5
FOR_OTHERS = "it is for x86_64, and this is aarch64"

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(autouse=True)
def looks_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub looks at its rollout ten times a second."""
    monkeypatch.setattr(hub_daemon, "LOOK_SECONDS", 0.1)


def publish(directory: Path, hub: Hub, version: str = NEW, serial: int = SERIAL) -> Releases:
    """Publish a small release at the hub."""
    releases = Releases(hub.config.updates.directory)
    releases.publish(*small_bundle(directory, version, serial))
    return releases


def reported(state: str, serial: int, version: str, **more: Any) -> dict[str, Any]:
    """What an agent reports of its last update."""
    return {"version": version, "serial": serial, "state": state, "why": "", "offer": "", **more}


Opened = asyncio.Queue[SessionChannel]


@asynccontextmanager
async def agent(
    one: Installation, office: str, version: str = OLD,
    features: tuple[str, ...] = ("update",), report: dict[str, Any] | None = None,
) -> AsyncIterator[Opened]:  # fmt: skip
    """An agent's session; yields the channels that the hub opens to it."""
    opened = Opened()
    vitals = {"boot_id": office, "uptime_seconds": 1, "spooled": 0, "version": version}
    vitals |= {} if report is None else {"update": report}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as http,
        http.ws_connect(one.agents, params={"office": office}) as socket,
    ):
        await socket.send_json(
            {"type": "hello", "protocol": 1, "features": list(features), **vitals}
        )

        async def read() -> None:
            channels = Channels(socket)
            while True:
                frame = decode(await socket.receive_str())
                if frame["type"] == "open":
                    opened.put_nowait(channels.new(frame["id"]))
                channels.take(frame)

        async def live() -> None:
            while True:
                await asyncio.sleep(1.0)
                await socket.send_json({"type": "heartbeat", **vitals})

        tasks = [asyncio.create_task(read()), asyncio.create_task(live())]
        try:
            yield opened
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def next_channel(opened: Opened) -> SessionChannel:
    """The channel of the next update that the hub opens."""
    return await asyncio.wait_for(opened.get(), PATIENCE)


async def standing(
    hub: Hub, office: str, state: str | None, why: str | None = None
) -> dict[str, Any]:
    """Wait until an office stands so, for this reason if one is given."""
    async with asyncio.timeout(PATIENCE):
        while True:
            every = (await hub.updates.status())["offices"]
            found: dict[str, Any] = next(one for one in every if one["office"] == office)
            if found["state"] == state and why in (None, found["why"]):
                return found
            await asyncio.sleep(0.05)


async def events(hub: Hub, office: str) -> list[dict[str, Any]]:
    """The events of an office's update."""
    found = hub.store.event_log.events_of_kind("update")
    return [dict(event.data) for event in found if event.office == office]


async def installed(hub: Hub, office: str) -> None:
    """Wait until the events say that an office has installed a version, and tries it."""
    async with asyncio.timeout(PATIENCE):
        while [one["did"] for one in await events(hub, office)] != ["installing", "trial"]:
            await asyncio.sleep(0.05)


async def test_others_wait_while_the_first_office_is_not_connected_with_it(tmp_path: Path) -> None:
    """A version that ran for a minute and then never came back goes no further. Once the office was
    connected with it after its soak, it may be switched off: the others fetch at night."""
    async with hub_at(tmp_path / "hub", soak="10s") as (one, hub):
        publish(tmp_path, hub)
        await hub.updates.offer(NEW, None, "test")
        async with agent(one, "o0", NEW, features=()):
            await standing(hub, "o0", "updated")
        gone = "waits for o0 to be connected with it again"
        await standing(hub, "o1", "waiting", gone)
        async with agent(one, "o1") as opened:
            async with agent(one, "o0", OLD):  # the old version was installed again by hand
                await asyncio.sleep(1.0)
                await standing(hub, "o1", "waiting", gone)
            assert opened.empty()
            async with agent(one, "o0", NEW, features=()):
                await next_channel(opened)
        async with agent(one, "o1") as opened:
            await next_channel(opened)
        stored = read_rollout(hub.config.updates.directory)
        assert stored is not None and set(stored.lasted) == {"o0"}


def test_what_a_later_hub_stored_is_read(tmp_path: Path) -> None:
    """A hub of the version before goes on with the rollout."""
    write_rollout(tmp_path, Rollout(NEW, SERIAL, "test", "2026-11-27T00:00:00Z"))
    file = tmp_path / FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "colour": "blue"}))
    found = read_rollout(tmp_path)
    assert found is not None and found.version == NEW


@pytest.mark.parametrize("by", ["message", "report"])
async def test_an_office_whose_machine_does_not_fit_halts_nothing(tmp_path: Path, by: str) -> None:
    """It is skipped also as the first: the next one is first, with its soak. Who installs the
    version there by hand has it updated."""
    async with hub_at(tmp_path / "hub", 3, first=["o0"]) as (one, hub):
        publish(tmp_path, hub)
        began = (await hub.updates.offer(NEW, None, "test")).began
        refusal: dict[str, Any] = {"state": "refused", "fits": False, "why": FOR_OTHERS}
        report = reported(serial=SERIAL, version=NEW, offer=began, **refusal)
        async with agent(one, "o1") as second, agent(one, "o2") as third:
            await standing(hub, "o1", "waiting", "waits for o0 to run it")
            async with agent(one, "o0", report=report if by == "report" else None) as first:
                if by == "message":
                    await (await next_channel(first)).send(refusal)
                await standing(hub, "o0", "unable", FOR_OTHERS)
                await next_channel(second)
                assert first.empty()
            assert not (await hub.updates.status())["offered"]["halted"]
            await standing(hub, "o2", "waiting", "waits for o1 to run it")
            assert third.empty()
        async with agent(one, "o1", NEW), agent(one, "o2") as third:
            await standing(hub, "o1", "updated")
            await next_channel(third)
        did = [event["did"] for event in await events(hub, "o0")]
        assert did == ["unable"]
        kept = read_rollout(hub.config.updates.directory)
        assert kept is not None and kept.unable == {"o0": FOR_OTHERS} and not kept.failed
        async with agent(one, "o0", NEW, features=(), report=report):
            await standing(hub, "o0", "updated")


async def test_an_agent_that_takes_no_updates_is_skipped_until_it_does(tmp_path: Path) -> None:
    """It would be the first one; once it was installed again by hand, it is."""
    async with hub_at(tmp_path / "hub") as (one, hub):
        publish(tmp_path, hub)
        await hub.updates.offer(NEW, None, "test")
        async with agent(one, "o0", features=()), agent(one, "o1") as second:
            await standing(hub, "o0", "unable", TAKES_NONE)
            await next_channel(second)
        await standing(hub, "o0", "unable", TAKES_NONE)
        async with agent(one, "o0") as first:
            await next_channel(first)
            await standing(hub, "o1", "waiting", "waits for o0 to run it")


async def test_a_second_build_of_a_version_is_another_version(tmp_path: Path) -> None:
    """Agents that confirmed the first build get the second; what was installed by hand counts."""
    async with hub_at(tmp_path / "hub") as (one, hub):
        publish(tmp_path, hub)
        await hub.updates.offer(NEW, None, "test")
        first_build = reported("confirmed", SERIAL - 1, NEW)
        async with agent(one, "o0", NEW, report=first_build) as opened:
            await next_channel(opened)
        second_build = reported("confirmed", SERIAL, NEW)
        async with agent(one, "o0", NEW, report=second_build):
            await standing(hub, "o0", "updated")
            older = reported("confirmed", SERIAL - 2, OLD)
            async with agent(one, "o1", NEW, report=older):
                await standing(hub, "o1", "updated")


async def test_a_kept_version_that_the_agent_has_left_is_offered_again(tmp_path: Path) -> None:
    """Its report still says "confirmed", and the base runs: it counts once it runs again."""
    async with hub_at(tmp_path / "hub") as (one, hub):
        publish(tmp_path, hub)
        await hub.updates.offer(NEW, None, "test")
        kept = reported("confirmed", SERIAL, NEW)
        async with agent(one, "o0", OLD, report=kept) as opened:
            await next_channel(opened)
        async with agent(one, "o0", NEW, report=kept):
            await standing(hub, "o0", "updated")


def test_every_budget_allows_a_piece_a_day() -> None:
    """With a smaller one nothing would ever be fetched, so there is none."""
    with pytest.raises(ValidationError, match="greater than or equal to"):
        UpdateSettings.model_validate({"budget": f"{on_the_line(PIECE_BYTES) - 1} B"})


async def test_an_office_says_why_it_waits(tmp_path: Path) -> None:
    """Each reason is one line, and none stays when it is over."""
    async with hub_at(tmp_path / "hub", 3, soak="1h") as (one, hub):
        publish(tmp_path, hub)
        await hub.updates.offer(NEW, ("o0",), "test")
        await standing(hub, "o1", "waiting", "not offered to this office")
        await standing(hub, "o0", "waiting", "its agent is not connected")
        with contextlib.ExitStack() as conference:
            conference.enter_context(hub.runner.active_tests.drill())
            async with agent(one, "o0") as opened:
                await standing(hub, "o0", "waiting", "a conference is on")
                async with hub.runner.hold_line("o0", "test", 1.0):
                    conference.close()
                    busy = "waits until the tests on its line, or on the uplink, have ended"
                    await standing(hub, "o0", "waiting", busy)
                channel = await next_channel(opened)
                assert (await standing(hub, "o0", "fetching"))["why"] is None
                hub.recorder.charge("o0", hub.config.budget)
                await channel.close()
                none_left = "no bytes are left today (updates.budget and budget)"
                await standing(hub, "o0", "waiting", none_left)
                data = yaml.safe_load(one.file.read_text("utf-8"))
                data["updates"]["hours"] = "off-hours"
                hours = {"days": "mon-sun", "from": "00:00", "to": "23:59", "holidays": None}
                data["district"]["office_hours"] = hours
                data["district"]["timezone"] = zone_at_noon()
                one.file.write_text(yaml.safe_dump(data), "utf-8")
                await hub.reload()
                closed = "waits for the end of office hours (updates.hours)"
                await standing(hub, "o0", "waiting", closed)
        await hub.updates.offer(NEW, None, "test")
        async with agent(one, "o0", NEW):
            await standing(hub, "o0", "updated")
            rollout = hub.updates.rollout
            assert rollout is not None
            at = hub.live.offices["o0"].agent.last_heard
            assert at is not None
            found = await standing(hub, "o1", "waiting")
            says, over = found["why"].rsplit(" at ", maxsplit=1)
            assert says == "waits until the soak of o0 is over"
            day, clock, _ = over.split()
            zone = ZoneInfo(hub.config.district.timezone)
            end = datetime.strptime(f"{day} {clock}", "%d.%m.%Y, %H:%M").replace(tzinfo=zone)
            assert at + timedelta(minutes=58) < end < hub.clock.now() + timedelta(hours=1)
            refusal = reported("refused", SERIAL, NEW, offer=rollout.began, why="the disk")
            async with agent(one, "o2", report=refusal):
                await standing(hub, "o2", "refused", "the disk")
            await standing(hub, "o1", "waiting", "halted: o2 refused it or went back")


async def test_the_line_is_free_while_an_agent_installs(tmp_path: Path) -> None:
    """A slow PC takes an hour, and probes go on; the result of the round still arrives."""
    async with hub_at(tmp_path / "hub") as (one, hub):
        publish(tmp_path, hub)
        await hub.updates.offer(NEW, None, "test")
        async with agent(one, "o0") as opened:
            channel = await next_channel(opened)
            await channel.send({"state": "fetching"})
            await standing(hub, "o0", "fetching")
            assert hub.runner.uplink.reserved > 0
            await channel.send({"state": "installing"})
            await standing(hub, "o0", "installing")
            async with asyncio.timeout(PATIENCE), hub.runner.hold_line("o0", "probe", 1e6):
                assert hub.runner.uplink.reserved == 1e6
                assert hub.runner.active_tests.running("o0") == ("probe",)
            assert opened.empty()
            await channel.send({"state": "restarting"})
            await installed(hub, "o0")


async def test_a_withdrawal_while_an_agent_installs_leaves_no_state(tmp_path: Path) -> None:
    """The agent goes on, and what it says is an event; its office is in no rollout any more."""
    async with hub_at(tmp_path / "hub") as (one, hub):
        publish(tmp_path, hub)
        await hub.updates.offer(NEW, None, "test")
        async with agent(one, "o0") as opened:
            channel = await next_channel(opened)
            await channel.send({"state": "installing"})
            await standing(hub, "o0", "installing")
            await hub.updates.withdraw()
            await channel.send({"state": "restarting"})
            await installed(hub, "o0")
            await standing(hub, "o0", None)


async def test_the_status_shows_the_release_key(tmp_path: Path) -> None:
    """As the line that an agent enrolled by hand needs; before the first release there is none."""
    async with hub_at(tmp_path / "hub") as (one, hub):
        assert (await hub.updates.status())["release_key"] is None
        shown = await asyncio.to_thread(one.command, "update", "status")
        assert "release_key" not in shown.stdout and shown.returncode == 0
        key = publish(tmp_path, hub).key()
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{one.http}/api/v1/updates") as answer,
        ):
            assert (await answer.json())["release_key"] == key
        shown = await asyncio.to_thread(one.command, "update", "status")
        assert shown.stdout.endswith(f"\nrelease_key: {key}\n")


def test_a_rollout_of_an_older_hub_is_read(tmp_path: Path) -> None:
    """Its file knows no office that is unable."""
    rollout = Rollout(NEW, SERIAL, "e", "2026-11-26T12:00:00.000Z").with_unable("o0", FOR_OTHERS)
    write_rollout(tmp_path, rollout)
    assert read_rollout(tmp_path) == rollout
    data = json.loads((tmp_path / FILE).read_text("utf-8"))
    del data["unable"]
    (tmp_path / FILE).write_text(json.dumps(data), "utf-8")
    assert read_rollout(tmp_path) == rollout.with_able("o0")


def test_a_refusal_fits_unless_it_says_otherwise() -> None:
    """An older agent does not say it, and a strange word is none."""
    vitals = {"boot_id": "b", "uptime_seconds": 1, "spooled": 0}
    refusal = reported("refused", SERIAL, NEW)
    for word in ({}, {"fits": True}, {"fits": "no"}, {"fits": None}, {"fits": 0}):
        found = read_vitals({**vitals, "update": {**refusal, **word}}).update
        assert found is not None and found.fits
    found = read_vitals({**vitals, "update": {**refusal, "fits": False}}).update
    assert found is not None and not found.fits


def test_an_older_release_than_a_published_one_is_refused(tmp_path: Path) -> None:
    """The agents that ran that one would refuse it; the same release again is fine."""
    releases = Releases(tmp_path / "updates")
    bundle, fingerprint = small_bundle(tmp_path, NEW, 6)
    for _ in range(2):
        releases.publish(bundle, fingerprint)
    older, _ = small_bundle(tmp_path, "7.2.0", 4)
    with pytest.raises(UserError, match=r"4 is lower than 6 of 7\.1\.0.*--serial N.*than 6") as one:
        releases.publish(older, None)
    assert "future" not in str(one.value) and "\n" not in str(one.value)
    ahead = int(time.time()) + 365 * 86400
    releases.publish(small_bundle(tmp_path, "7.3.0", ahead)[0], None)
    now, _ = small_bundle(tmp_path, "7.4.0", int(time.time()))
    with pytest.raises(UserError, match="the clock of its maker was probably wrong"):
        releases.publish(now, None)
    assert [one.release.version for one in releases.all()] == [NEW, "7.3.0"]


def _line_for(changed: bytes, directory: Path, fingerprint: str) -> str:
    """The error that publishing these bytes gives; empty if what was signed is published."""
    (directory / "damaged.zip").write_bytes(changed)
    place = Path(tempfile.mkdtemp(dir=directory))
    releases = Releases(place / "updates")
    try:
        assert releases.publish(directory / "damaged.zip", fingerprint).serial == SERIAL
    except UserError as error:
        assert "\n" not in str(error)
        assert list(releases.all()) == [] and releases.key() is None
        return str(error)
    return ""


DAMAGED = "is no bundle, or a damaged one; nothing was published"


def test_a_damaged_bundle_is_one_line(tmp_path: Path) -> None:
    """Wherever its bytes were flipped, also where that makes another kind of archive of it: one
    that seems encrypted, is compressed otherwise, or lies elsewhere in the file."""
    bundle, fingerprint = small_bundle(tmp_path, NEW, SERIAL)
    whole, dice = bundle.read_bytes(), random.Random(7)
    with zipfile.ZipFile(bundle) as archive:
        heads = [one.header_offset + n for one in archive.infolist() for n in range(30)]
        places = [*heads, *range(archive.start_dir, len(whole))]
    lines = set()
    for _ in range(600):
        changed = bytearray(whole)
        for place in dice.sample(places, dice.choice([1, 1, 2])):
            changed[place] ^= 1 << dice.randrange(8)
        lines.add(_line_for(bytes(changed), tmp_path, fingerprint))
    assert any(DAMAGED in line for line in lines)
    assert not any("None" in line or "Errno" in line for line in lines)


def _packed_again(bundle: Path, again: Path, method: int) -> zipfile.ZipInfo:
    """Write the bundle's files into another archive; returns the entry of its manifest."""
    with zipfile.ZipFile(bundle) as archive, zipfile.ZipFile(again, "w", method) as other:
        for name in archive.namelist():
            other.writestr(name, archive.read(name))
        return other.getinfo("release.json")


def test_damaged_data_of_a_bundle_is_one_line(tmp_path: Path) -> None:
    """Of one that somebody has packed again, and so compressed."""
    bundle, fingerprint = small_bundle(tmp_path, NEW, SERIAL)
    again = tmp_path / "again.zip"
    member = _packed_again(bundle, again, zipfile.ZIP_DEFLATED)
    begin = member.header_offset + 30 + len(member.filename)
    whole, lines = again.read_bytes(), list[str]()
    for place in range(begin, begin + member.compress_size):
        changed = bytearray(whole)
        changed[place] ^= 0x55
        lines.append(_line_for(bytes(changed), tmp_path, fingerprint))
    assert {line.partition(": ")[2].partition(". ")[0] for line in lines if line} == {DAMAGED}
    assert sum(not line for line in lines) < 10  # bytes that say nothing, such as of the end


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_cannot_be_unpacked_in_pieces_is_refused(tmp_path: Path, method: int) -> None:
    """A few hundred bytes could fill the hub's memory before any signature is checked."""
    bundle, fingerprint = small_bundle(tmp_path, NEW, SERIAL)
    again = tmp_path / "again.zip"
    _packed_again(bundle, again, method)
    with pytest.raises(UserError, match="compressed in a way that no bundle is"):
        Releases(tmp_path / "updates").publish(again, fingerprint)


async def test_a_version_that_was_kept_and_left_later_halts_the_others(tmp_path: Path) -> None:
    """It crashed again and again after it had reached the hub, so the agent went back."""
    async with hub_at(tmp_path / "hub") as (one, hub):
        publish(tmp_path, hub)
        rollout = await hub.updates.offer(NEW, None, "test")
        kept = reported("confirmed", SERIAL, NEW, offer=rollout.began)
        async with agent(one, "o0", NEW, report=kept):
            await standing(hub, "o0", "updated")
        left = {**kept, "state": "rolled_back", "why": "it crashed within 60 s, 10 times"}
        async with agent(one, "o0", OLD, report=left):
            await standing(hub, "o0", "rolled_back", "it crashed within 60 s, 10 times")
        stored = read_rollout(hub.config.updates.directory)
        assert stored is not None and stored.failed and not stored.updated
