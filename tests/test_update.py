"""Updates of agents over JharNet: what is signed arrives whole, once, and the old version is kept.

With versions that crash and power cuts over slow lines it is shown by `tests/faults/update.py`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jharnet_monitor.agent import updater
from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.agent.self_monitor import SelfMonitor
from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.agent.updater import Updater
from jharnet_monitor.agent.versions import UpdateState, Versions
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.enrol import enrol
from jharnet_monitor.errors import UserError
from jharnet_monitor.handover.release import ReleaseRefused, read_release
from jharnet_monitor.handover.releases import Releases
from jharnet_monitor.hub import daemon as hub_daemon
from jharnet_monitor.hub import first_tests, update_round
from jharnet_monitor.hub import updates as hub_updates
from jharnet_monitor.hub.daemon import Hub
from jharnet_monitor.hub.rollout import Rollout, write_rollout
from jharnet_monitor.hub.update_budget import UpdateBudget
from jharnet_monitor.hub.update_round import TASK
from jharnet_monitor.hub.updates import Updates
from jharnet_monitor.probes.base import ChannelClosed
from jharnet_monitor.security.enrolment import Enrolment
from jharnet_monitor.security.tokens import read_secret
from jharnet_monitor.supervisor import PartStatus
from jharnet_monitor.wire.intake import read_vitals
from tests.faults.installation import TOKEN, Installation
from tests.update_support import PATIENCE, begin_trial, hub_at, small_bundle

SAYS_ITS_VERSION = """
import jharnet_monitor
def main():
    print(jharnet_monitor.__version__)
"""
PADDING = 500_000
ROOT = Path(__file__).parents[1]


def agent_of(one: Installation, office: str, directory: Path, key: str) -> Agent:
    """An agent that takes updates signed with this key."""
    place = directory / office
    settings = AgentSettings(
        one.agents, office, TOKEN, place / "spool", release_key=key, updates=place / "updates"
    )
    return Agent(settings, SystemClock())


async def state(hub: Hub, office: str, wanted: str) -> None:
    """Wait until the office stands so."""
    async with asyncio.timeout(PATIENCE):
        while hub.live.offices[office].agent.update_state != wanted:
            await asyncio.sleep(0.05)


@pytest.mark.timeout(400)
async def test_a_version_comes_over_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a session that breaks, every byte once, inside the budget; installed beside the old one,
    put in force on trial; the next version, changed at the hub, is refused and halts the rest."""
    monkeypatch.setattr(hub_daemon, "LOOK_SECONDS", 0.1)
    # a speed test of a minute later would be in the bytes spent
    monkeypatch.setattr(first_tests, "FIRST_AFTER_SECONDS", 1e9)
    async with hub_at(tmp_path / "hub") as (one, hub):
        releases = Releases(hub.config.updates.directory)
        bundle, fingerprint = small_bundle(tmp_path, "7.1.0", 5, SAYS_ITS_VERSION, PADDING)
        size = sum(w.size for w in releases.publish(bundle, fingerprint).wheels.values())
        key = releases.key()
        assert key is not None
        agents = {o: agent_of(one, o, tmp_path, key) for o in one.offices}
        running = {o: asyncio.create_task(agent.run()) for o, agent in agents.items()}
        await hub.updates.offer("7.1.0", None, "test")
        await state(hub, "o0", "fetching")
        wheels = tmp_path / "o0/updates/wheels"
        while not any(wheels.glob("jharnet_monitor-7.1.0-*.part")):
            await asyncio.sleep(0.01)
        session = hub.agents.get("o0")
        assert session is not None and session.transport is not None
        session.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await running["o0"]
        assert agents["o0"].restart_wanted
        versions = Versions(tmp_path / "o0/updates", "0.1.0")
        found = versions.last()
        assert found is not None and found.on_trial and versions.current() == "7.1.0-5"
        program = versions.place("7.1.0-5") / "bin/jharnet-monitor"
        printed = await asyncio.to_thread(subprocess.check_output, [program], text=True, env={})
        assert printed == "7.1.0\n"
        spent = hub.recorder.spent_today("o0")
        assert size < spent < 1.08 * size + 10 * 1500 + update_round.PIECE_BYTES * 1.1
        assert hub.live.offices["o1"].agent.update_state == "waiting"  # o0 goes first
        hub.recorder.restore_spent()
        assert hub.recorder.spent_today("o0") == spent  # a restart of the hub forgets nothing
        day, _ = hub.recorder.today()
        restarted = UpdateBudget(lambda: hub.config.updates.directory)
        await restarted.restore()
        assert restarted.spent("o0", day) == spent
        did = [e.data["did"] for e in hub.store.event_log.events_of_kind("update")]
        assert did.count("fetched") == 2 and {"installing", "trial"} <= set(did)
        await _changed_at_the_hub(tmp_path, hub, agents["o1"], running["o1"])


async def _changed_at_the_hub(
    directory: Path, hub: Hub, agent: Agent, running: asyncio.Task[None]
) -> None:
    bundle, _ = small_bundle(directory, "7.2.0", 6)
    releases = Releases(hub.config.updates.directory)
    releases.publish(bundle, None)
    wheel = next((releases.directory / "7.2.0-6/wheels").iterdir())
    data = bytearray(wheel.read_bytes())
    data[100] ^= 1
    wheel.write_bytes(data)
    await hub.updates.offer("7.2.0", ("o1",), "test")
    await state(hub, "o1", "refused")
    async with asyncio.timeout(PATIENCE):
        while not (status := await hub.updates.status())["offered"]["halted"]:
            await asyncio.sleep(0.1)
    assert "not the file that was signed" in status["offices"][1]["why"]
    assert not (directory / "o1/updates/versions").exists()
    assert not running.done() and not agent.restart_wanted
    agent.stop()
    await running


def test_only_the_district_publishes(tmp_path: Path) -> None:
    """A bundle of another key, a changed one, and the first one without its fingerprint are
    refused; nothing of them is kept."""
    releases = Releases(tmp_path / "updates")
    bundle, fingerprint = small_bundle(tmp_path, "7.1.0", 5)
    with pytest.raises(UserError, match="needs --fingerprint"):
        releases.publish(bundle, None)
    releases.publish(bundle, fingerprint)
    foreign, other = small_bundle(tmp_path, "7.3.0", 9, key=tmp_path / "other.key")
    for expected in (None, other):
        with pytest.raises(UserError, match="another key"):
            releases.publish(foreign, expected)
    changed = bytearray(small_bundle(tmp_path, "7.2.0", 6)[0].read_bytes())
    changed[changed.index(b"__version__")] ^= 1
    (tmp_path / "changed.zip").write_bytes(changed)
    with pytest.raises(UserError, match=r"changed|signed|bundle"):
        releases.publish(tmp_path / "changed.zip", None)
    (tmp_path / "no.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="is no bundle"):
        releases.publish(tmp_path / "no.zip", None)
    assert [one.release.version for one in releases.all()] == ["7.1.0"]
    with pytest.raises(UserError, match=r"there are: 7\.1\.0"):
        releases.find("7.2.0")


@pytest.mark.parametrize("kind", ["link", "second name", "pipe"])
def test_root_follows_no_link_of_the_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The service's user cannot make root give away or overwrite a file; the rest is given."""
    given: list[Path] = []
    descriptors = Path("/proc/self/fd")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        os, "fchown", lambda number, *_: given.append((descriptors / str(number)).readlink())
    )
    releases = Releases(tmp_path / "updates")
    bundle, fingerprint = small_bundle(tmp_path, "7.1.0", 5)
    releases.publish(bundle, fingerprint)
    assert {
        releases.directory,
        releases.directory / "7.1.0-5/release.json",
        releases.directory / "bundle.pub",
    } <= set(given)
    shadow, trap = tmp_path / "shadow", releases.directory / "x"
    shadow.write_text("root")
    if kind == "link":
        trap.symlink_to(shadow)
    elif kind == "second name":
        trap.hardlink_to(shadow)
    else:
        os.mkfifo(trap)
    with pytest.raises(UserError, match="neither a plain file"):
        releases.publish(small_bundle(tmp_path, "7.2.0", 6)[0], None)
    assert [one.release.version for one in releases.all()] == ["7.1.0"]


def test_the_key_is_not_written_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even through one whose target does not exist yet."""
    monkeypatch.setattr(os, "geteuid", lambda: 1)  # root refuses the link at once
    releases = Releases(tmp_path / "updates")
    releases.directory.mkdir()
    (releases.directory / "bundle.pub").symlink_to(tmp_path / "target")
    with pytest.raises(UserError):
        releases.publish(*small_bundle(tmp_path, "7.1.0", 5))
    assert not (tmp_path / "target").exists()


def test_an_enrolment_carries_the_key(tmp_path: Path) -> None:
    """Once a release is published, an office enrols with the key that its updates need."""
    one = Installation(tmp_path, "sqlite:///monitor.db", 1)
    bundle, fingerprint = small_bundle(tmp_path, "7.1.0", 5)
    out = tmp_path / "out"
    for published in (False, True):
        if published:
            Releases(tmp_path / "updates").publish(bundle, fingerprint)
        enrol("o0", one.file, every=False, out=out, hub="http://127.0.0.1:1", days=1)
        key = Enrolment.of(read_secret(out / "o0.enrolment")).release_key
        assert key == Releases(tmp_path / "updates").key() and (key is not None) is published


def test_an_agent_trusts_its_key_alone(tmp_path: Path) -> None:
    """One changed byte of the manifest, another key, and an older release are refused."""
    bundle, fingerprint = small_bundle(tmp_path, "7.1.0", 5)
    releases = Releases(tmp_path / "updates")
    releases.publish(bundle, fingerprint)
    one, key = releases.find("7.1.0"), releases.key()
    assert key is not None
    assert read_release(one.manifest, one.signature, key) == one.release
    for at in range(0, len(one.manifest), 37):
        changed = bytearray(one.manifest)
        changed[at] ^= 1
        with pytest.raises(ReleaseRefused):
            read_release(bytes(changed), one.signature, key)
    for wrong in ("", "AAAA", "A" * 43 + "=", key[::-1]):
        with pytest.raises(ReleaseRefused):
            read_release(one.manifest, one.signature, wrong)
    versions = Versions(tmp_path / "agent", "0.1.0")
    taking = Updater(versions, key, lambda: None)
    assert taking._proven(one.to_params()).version == "7.1.0"
    versions.save(replace(begin_trial(versions), state=UpdateState.CONFIRMED, floor=6))
    with pytest.raises(UserError, match="older than one that ran here"):
        taking._proven(one.to_params())


async def test_a_part_of_another_release_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two builds of a version share the name of their wheel, but not its bytes."""
    name, line = "monitor-7.1.0-py3-none-any.whl", _PatientLine()

    def release(data: bytes) -> SimpleNamespace:
        wheel = SimpleNamespace(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        return SimpleNamespace(pythons={updater._python(): [name]}, wheels={name: wheel})

    async def piece(context: object, path: str, most: int) -> bytes:
        if line.data[line.offset :] == b"":
            raise ChannelClosed("session lost")
        return line.data[line.offset : line.offset + most]

    monkeypatch.setattr(updater, "_get", piece)
    monkeypatch.setattr(updater, "FREE_BYTES", 0)
    versions = Versions(tmp_path, "0.1.0")
    one, first, second = Updater(versions, "", lambda: None), b"first build", b"second build"
    line.data = first[:5]
    with pytest.raises(ChannelClosed):
        await one._fetch(release(first), line, None)  # type: ignore[arg-type]
    line.data = second
    await one._fetch(release(second), line, None)  # type: ignore[arg-type]
    assert [(path.name, path.read_bytes()) for path in versions.wheels.iterdir()] == [
        (name, second)
    ]


class _PatientLine:
    """A channel that knows which byte of the wheel was requested last."""

    def __init__(self) -> None:
        self.data, self.offset = b"", 0

    async def send(self, message: dict[str, object]) -> None:
        """Note the offset of a piece."""
        offset = message.get("offset")
        self.offset = offset if isinstance(offset, int) else 0

    async def receive(self) -> dict[str, object]:
        """Every piece is on offer."""
        return {"path": "/agent/transfer/1"}


async def test_a_lost_session_does_not_prevent_the_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installation goes on, no second one begins beside it, and then the agent restarts.

    A hub that asks again, after a lost session or a long time, learns how it goes and ends.
    """
    line, restarted, go_on = _ClosedLine(), asyncio.Event(), threading.Event()
    one = Updater(Versions(tmp_path, "0.1.0"), "", restarted.set)

    async def fetch(*_: object) -> None:
        """Everything is here already."""

    monkeypatch.setattr(one, "_proven", lambda _: SimpleNamespace(version="7.1.0"))
    monkeypatch.setattr(one, "_fetch", fetch)
    monkeypatch.setattr(one, "_install", lambda *_: go_on.wait(120))
    heard: asyncio.Queue[dict[str, object]] = asyncio.Queue()
    later: Any = SimpleNamespace(send=heard.put)
    task = asyncio.create_task(one.task(line, {"offer": "a"}, None))  # type: ignore[arg-type]
    try:
        await asyncio.wait_for(line.installing.wait(), 60)
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for other in ({}, {"offer": "b"}):
            with pytest.raises(ChannelClosed, match="already running"):
                await one.task(later, other, None)  # type: ignore[arg-type]
        asks_again = asyncio.create_task(one.task(later, {"offer": "a"}, None))  # type: ignore[arg-type]
        assert await asyncio.wait_for(heard.get(), 60) == {"state": "installing"}
        assert not restarted.is_set() and heard.empty() and not asks_again.done()
    finally:
        go_on.set()
    await asyncio.wait_for(restarted.wait(), 60)
    assert await asyncio.wait_for(heard.get(), 60) == {"state": "restarting"}
    await asyncio.wait_for(asks_again, 60)


async def test_an_installation_is_a_load_until_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the session that began it."""
    line, restarted, go_on = _ClosedLine(), asyncio.Event(), threading.Event()
    monitor = SelfMonitor("potka", "127.0.0.1", SystemClock(), lambda _: None)
    one = Updater(Versions(tmp_path, "0.1.0"), "", restarted.set, monitor.load)

    async def fetch(*_: object) -> None:
        """Everything is here already."""

    monkeypatch.setattr(one, "_proven", lambda _: SimpleNamespace(version="7.1.0"))
    monkeypatch.setattr(one, "_fetch", fetch)
    monkeypatch.setattr(one, "_install", lambda *_: go_on.wait(120))
    marked: Any = monitor.marks_load(one.task)
    task: asyncio.Task[None] = asyncio.create_task(marked(line, {}, None))
    try:
        await asyncio.wait_for(line.installing.wait(), 60)
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert monitor._tests_running == 1
    finally:
        go_on.set()
    await asyncio.wait_for(restarted.wait(), 60)
    assert monitor._tests_running == 0


@pytest.mark.parametrize("switched", [True, False])
async def test_an_error_after_the_change_of_the_link_refuses_nothing(
    switched: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new version is active and restarts; before the change, the release is refused."""
    messages, restarted = list[dict[str, object]](), list[bool]()
    kept = Versions(tmp_path, "0.1.0")
    one = Updater(kept, "", lambda: restarted.append(True))

    async def send(message: dict[str, object]) -> None:
        messages.append(message)

    def install(*_: object) -> None:
        if switched:
            (tmp_path / "versions/7.1.0-5").mkdir(parents=True)
            kept.begin_trial("7.1.0", 5, "7.1.0-5", 20.0, "offer")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(one, "_install", install)
    release, channel = SimpleNamespace(version="7.1.0", id="7.1.0-5"), SimpleNamespace(send=send)
    params = {"serial": 5, "version": "7.1.0"}
    one._listener = cast(Any, channel)
    await one._activate(release, params)
    last = kept.last()
    assert last is not None
    assert last.state is (UpdateState.TRIAL if switched else UpdateState.REFUSED)
    assert restarted == ([True] if switched else [])
    assert [message["state"] for message in messages] == ["restarting" if switched else "refused"]


async def test_a_restart_does_not_give_the_days_bytes_again(tmp_path: Path) -> None:
    """Each piece is on the disk before it is sent; the next day begins at nothing, and a damaged
    file is logged."""
    today, tomorrow = date(2026, 11, 26), date(2026, 11, 27)
    budget = UpdateBudget(lambda: tmp_path)
    await budget.restore()
    await asyncio.gather(*(budget.charge(o, today, 100) for o in ("potka", "boram", "potka")))
    again = UpdateBudget(lambda: tmp_path)
    await again.restore()
    assert [again.spent(o, today) for o in ("potka", "boram", "patamda")] == [200, 100, 0]
    assert again.spent("potka", tomorrow) == 0
    await again.charge("potka", tomorrow, 7)
    assert (again.spent("potka", tomorrow), again.spent("boram", tomorrow)) == (7, 0)
    (tmp_path / "spent.json").write_text("[]", "utf-8")
    damaged = UpdateBudget(lambda: tmp_path)
    await damaged.restore()
    assert damaged.spent("potka", tomorrow) == 0
    (tmp_path / "full/spent.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"spent.json: cannot be written"):
        await UpdateBudget(lambda: tmp_path / "full").charge("potka", today, 1)


class _ClosedLine:
    """A channel that is lost once the agent installs."""

    def __init__(self) -> None:
        self.installing = asyncio.Event()

    async def send(self, message: dict[str, object]) -> None:
        """Fails for every message but one."""
        if message != {"state": "installing"}:
            raise ChannelClosed("session lost")
        self.installing.set()


def test_reports_of_updates_are_bounded() -> None:
    """A report that cannot be true is none; the session goes on."""
    vitals = {"boot_id": "b", "uptime_seconds": 1, "spooled": 0}
    good = {"version": "1", "serial": 1, "state": "trial", "why": "", "offer": ""}
    wrongs: list[object] = [1, [], {}]
    wrongs += [good | {"state": "x"}, good | {"serial": -1}, good | {"serial": "1"}]
    wrongs += [good | {"why": "\x1b[2J"}, good | {"version": ""}]
    for wrong in wrongs:
        assert read_vitals({**vitals, "update": wrong}).update is None
    report = read_vitals({**vitals, "update": good | {"why": "x" * 5000}}).update
    assert report is not None and len(report.why) == 200


def test_a_machine_with_a_full_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The spool's room is not taken."""
    monkeypatch.setattr(updater, "FREE_BYTES", 1 << 60)
    bundle, fingerprint = small_bundle(tmp_path, "7.1.0", 5)
    releases = Releases(tmp_path / "updates")
    releases.publish(bundle, fingerprint)

    class Line:
        sent: list[dict[str, object]] = []  # noqa: RUF012

        async def send(self, message: dict[str, object]) -> None:
            self.sent.append(message)

    versions = Versions(tmp_path / "agent", "0.1.0")
    params = {**releases.find("7.1.0").to_params(), "version": "7.1.0", "serial": 5, "offer": "o"}
    one = Updater(versions, releases.key() or "", lambda: None)
    asyncio.run(one.task(Line(), params, None))  # type: ignore[arg-type]
    assert Line.sent[-1]["state"] == "refused" and one.report is not None
    assert one.report["state"] == "refused" and "free on the disk" in str(one.report["why"])
    assert list((tmp_path / "agent/wheels").iterdir()) == []


@pytest.fixture
def rolling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Updates:
    """A hub's rollout of one release to two offices, the first of which reports success."""
    report = {"state": "confirmed", "serial": 5, "offer": "began"}
    agents = {
        office: SimpleNamespace(
            connected=office == "o0", update=report, version="7.1.0", update_state=""
        )
        for office in ("o0", "o1")
    }
    offices = [SimpleNamespace(id=office, agent=True) for office in agents]
    settings = SimpleNamespace(directory=tmp_path, first=[], soak=0.0)
    district = SimpleNamespace(timezone="Asia/Kolkata")
    config = SimpleNamespace(updates=settings, offices=offices, district=district)
    current = SimpleNamespace(config=config)
    live = SimpleNamespace(offices={o: SimpleNamespace(agent=a) for o, a in agents.items()})

    async def add_event(*_: object) -> None:
        """Events do not matter here."""

    journal = SimpleNamespace(add_event=add_event)
    rest: tuple[Any, ...] = (None, None, None, lambda _: None)
    one = Updates(current, SystemClock(), live, journal, *rest)  # type: ignore[arg-type]
    monkeypatch.setattr(one, "_may_fetch", lambda _: True)
    one.rollout = Rollout("7.1.0", 5, "test", "began")
    one._published = SimpleNamespace(release=SimpleNamespace(serial=5))  # type: ignore[assignment]
    return one


async def test_a_withdrawal_is_not_overwritten(
    rolling: Updates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that is stored at the same time does not bring the rollout back."""
    storing = threading.Event()

    def slow(directory: Path, rollout: Rollout | None) -> None:
        if rollout is not None:
            storing.set()
            time.sleep(0.2)
        write_rollout(directory, rollout)

    monkeypatch.setattr(hub_updates, "write_rollout", slow)
    step = asyncio.create_task(rolling.step())
    await asyncio.to_thread(storing.wait, 60)
    await rolling.withdraw()
    await step
    assert rolling.rollout is None and not (tmp_path / "rollout.json").exists()


async def test_a_failure_stops_rounds_that_run(
    rolling: Updates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So do a withdrawal and another offer; the success of another office does not."""
    assert rolling.rollout is not None
    began, went_on = replace(rolling.rollout, offices=("o0", "o1")), []
    rolling.rollout = began
    rollouts = (
        began.with_updated("o0", SystemClock().now()),
        began.with_failed("o0", "it crashed"),
        replace(began, began="later"),
        None,
    )

    class Round:
        bytes_sent = 0

        def __init__(self, *arguments: Any) -> None:
            self._may_go_on = arguments[4]

        async def run(self, _: object) -> AsyncIterator[str]:
            """The hub's rollout changes while the round runs."""
            for now in rollouts:
                rolling.rollout = now
                went_on.append(self._may_go_on())
            return
            yield

    published = SimpleNamespace(release=began, to_params=dict)
    rolling._current.config.updates.trial = 20.0
    monkeypatch.setattr(rolling, "_agent_of", lambda _: object())
    monkeypatch.setattr(hub_updates, "UpdateRound", Round)
    await rolling._converse("o1", published, 1.0, asyncio.Event().wait)  # type: ignore[arg-type]
    assert went_on == [True, False, False, False]


async def test_an_unexpected_error_ends_one_round(
    rolling: Updates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub counts it, and its next step starts a round of the same office again."""
    assert rolling.rollout is not None
    rolling.rollout = replace(rolling.rollout, offices=("o1",))
    rolling._live.hub = SimpleNamespace(parts=PartStatus())  # type: ignore[assignment]
    rolling._runner = SimpleNamespace(hold_line=lambda *_: nullcontext(1.0))  # type: ignore[assignment]
    tried = list[str]()

    async def broken(office: str, *_: object) -> None:
        tried.append(office)
        raise OverflowError("unexpected")

    monkeypatch.setattr(rolling, "_agent_of", lambda _: SimpleNamespace(features={TASK}))
    monkeypatch.setattr(rolling, "_rate", lambda _: 1.0)
    monkeypatch.setattr(rolling, "_converse", broken)
    for count in (1, 2):
        await rolling.step()
        await rolling._rounds["o1"]
        assert tried == ["o1"] * count
        assert rolling._live.hub.parts.restarts["updates"] == count
