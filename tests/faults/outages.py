"""Faults in the lab, compared with what the hub reports while they last and afterwards.

Eleven offices have faults at once, each its own: cuts of link, power and LAN, agents stopped and
killed, bursts of loss that are no outage, a line cut before the power; between the rounds the
uplink is cut and the hub killed. Required: the live state is right within 10 s and stays right; the
final cause is right within 60 s of the return; start and end are right within 10 s; there are no
false outages.

    python -m tests.faults.outages [--quick] [--json FILE] [--seed N]
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.demo.flow import Demo, running
from jharnet_monitor.demo.places import LabPlace, district_data
from jharnet_monitor.errors import TemporaryError
from jharnet_monitor.model import OfficeState
from jharnet_monitor.report.data.state_spans import spans
from jharnet_monitor.store import Store
from tests.bench.marks import Row, arguments, at_most, finish, note, within
from tests.programs_support import kill_hub, stop_agent

ROUNDS, QUICK_ROUNDS = 20, 1
NOTICED_SECONDS = 10.0
ATTRIBUTED_SECONDS = 60.0
CALM_SECONDS = 12.0
OUT = ("unreachable", "link_down", "power_down", "lan_down")

LIVE = {
    "link": "unreachable",
    "power": "unreachable",
    "lan": "lan_down",
    "stopped": "agent_off",
    "killed": "up",
    "loss": "up",
    "link then power": "unreachable",
}
"""Each kind of fault, and the live state that it must cause."""
CAUSE = {"link": "link_down", "power": "power_down"}
WEIGHTS = {"link": 6, "power": 6, "lan": 3, "stopped": 2, "killed": 2, "loss": 3,
           "link then power": 2}  # fmt: skip


@dataclass(slots=True)
class Fault:
    """One fault of one office, with its times (UTC)."""

    office: str
    kind: str
    began: datetime
    ended: datetime | None = None
    seen: list[tuple[datetime, str]] = field(default_factory=list)


class District:
    """Injects faults into the lab's district and watches the hub's API."""

    def __init__(self, one: Demo, seed: int, *, quick: bool) -> None:
        self.one = one
        self._quick = quick
        self.random = random.Random(seed)
        self.faults: list[Fault] = []
        self.history: dict[str, list[tuple[datetime, str]]] = {o: [] for o in one.offices}
        self._ending = threading.Event()
        self._eye = threading.Thread(target=self._watch, daemon=True)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Record every office's live state twice a second."""
        self._eye.start()
        try:
            yield
        finally:
            self._ending.set()
            self._eye.join()

    def _watch(self) -> None:
        while not self._ending.wait(0.5):
            try:
                offices = self.one.hub.get("/api/v1/offices")
            except TemporaryError:
                continue  # the hub is down, as it was killed
            now = datetime.now(UTC)
            for office in offices:
                self.history[office["id"]].append((now, office["state"]))

    def round(self) -> None:
        """Inject a fault at every office at once."""
        threads = [
            threading.Thread(target=self._suffer, args=(office, self._draw(), self._length()))
            for office in self.one.offices
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _draw(self) -> str:
        kind = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        return "link" if self._quick and kind == "link then power" else kind

    def _length(self) -> float:
        return self.random.uniform(14, 18) if self._quick else self.random.uniform(18, 40)

    def _suffer(self, office: str, kind: str, seconds: float) -> None:
        lab, programs = self.one.place.lab, self.one.programs
        assert lab is not None
        fault = Fault(office, kind, datetime.now(UTC))
        with LOCK:  # the lab's control socket accepts one command at a time
            self._begin(office, kind)
        time.sleep(seconds)
        if kind == "link then power":
            with LOCK:
                lab.cut(office, "power")
            time.sleep(seconds)
        with LOCK:
            fault.ended = datetime.now(UTC)
            if kind in ("link", "link then power"):
                lab.restore(office, "link")
            if kind in ("power", "link then power"):
                lab.restore(office, "power")
                programs.start_agent(office)
            if kind == "lan":
                lab.restore(office, "lan")
            if kind in ("stopped", "killed"):
                programs.start_agent(office)
            if kind == "loss":
                for way in ("down", "up"):
                    lab.set(office, f"{way}.loss", "0%")
        self.faults.append(fault)

    def _begin(self, office: str, kind: str) -> None:
        lab = self.one.place.lab
        assert lab is not None
        if kind in ("link", "link then power"):
            lab.cut(office, "link")
        elif kind in ("power", "lan"):
            lab.cut(office, kind)
        elif kind in ("stopped", "killed"):
            stop_agent(self.one.programs, office, kill=kind == "killed")
        else:
            for way in ("down", "up"):
                lab.set(office, f"{way}.loss", "{mean: 20%, burst: 3}")

    def cut_uplink(self, seconds: float) -> list[str]:
        """Cut the uplink; returns the offices that had any other state than `uplink_down`."""
        lab = self.one.place.lab
        assert lab is not None
        lab.cut("uplink")
        time.sleep(seconds)
        wrong = [o for o, states in self.history.items() if states[-1][1] != "uplink_down"]
        lab.restore("uplink")
        return wrong

    def kill_hub(self) -> None:
        """Kill the hub, and start it again."""
        kill_hub(self.one.programs)
        time.sleep(5)
        self.one.programs.start_hub()
        self.one.wait_for_agents()


LOCK = threading.Lock()


def live_right(fault: Fault, history: Sequence[tuple[datetime, str]]) -> bool:
    """Whether the state was right from 10 s after the start of the fault until its end."""
    assert fault.ended is not None
    judged = [
        state
        for moment, state in history
        if fault.began + timedelta(seconds=NOTICED_SECONDS) < moment < fault.ended
    ]
    return bool(judged) and set(judged) == {LIVE[fault.kind]}


def finding(store: Store, fault: Fault) -> tuple[str, float, float] | None:
    """The final cause of the fault, and the errors of its start and end in seconds."""
    assert fault.ended is not None
    margin = timedelta(seconds=25)
    found = spans(
        store.event_log.transitions(fault.office, fault.began - margin), fault.ended + 2 * margin
    )
    out = [
        s for s in found if s.state.value in OUT and s.end > fault.began and s.start < fault.ended
    ]
    if not out:
        return None
    states = {s.state.value for s in out}
    name = states.pop() if len(states) == 1 else "+".join(sorted(s.state.value for s in out))
    start = abs((out[0].start - fault.began).total_seconds())
    end = abs((out[-1].end - fault.ended).total_seconds())
    return name, start, end


def judge(district: District, store: Store, uplink_wrong: int, cuts: int) -> list[Row]:
    """The rows: the results and their marks."""
    faults = district.faults
    outages = [f for f in faults if f.kind in ("link", "power", "link then power", "lan")]
    live = sum(live_right(f, district.history[f.office]) for f in faults)
    causes = edges = worst = 0.0
    false: list[str] = []
    for fault in faults:
        found = finding(store, fault)
        if fault not in outages:
            if found is not None:
                false.append(f"{fault.office} {fault.kind} {found[0]}")
            continue
        right = _cause_right(fault, found)
        causes += right
        if found is not None:
            worst = max(worst, found[1], found[2])
            edges += max(found[1], found[2]) <= NOTICED_SECONDS
        if not right or found is None or max(found[1:]) > NOTICED_SECONDS:
            print(f"  {fault.office}: {fault.kind} at {fault.began:%H:%M:%S} became {found}")
    for fault in faults:
        if not live_right(fault, district.history[fault.office]):
            seen = sorted({s for m, s in district.history[fault.office] if m > fault.began
                           and fault.ended is not None and m < fault.ended})  # fmt: skip
            print(f"  {fault.office}: {fault.kind} at {fault.began:%H:%M:%S} was live {seen}")
    print(*(f"  false: {one}" for one in false), sep="\n")
    return [
        note("faults injected", len(faults), "faults"),
        within("live state right within 10 s", live / len(faults), 1.0, 1.0, "share"),
        within("final cause right", causes / max(1, len(outages)), 0.98, 1.0, "share"),
        within("start and end within 10 s", edges / max(1, len(outages)), 0.98, 1.0, "share"),
        note("worst edge", worst, "s"),
        at_most("false outages", len(false), 0, "faults"),
        note("uplink cuts", cuts, "cuts"),
        at_most("offices blamed for the uplink", uplink_wrong, 0, "offices"),
    ]


def _cause_right(fault: Fault, found: tuple[str, float, float] | None) -> bool:
    if found is None:
        return False
    if fault.kind == "lan":
        return found[0] == OfficeState.LAN_DOWN
    if fault.kind == "link then power":  # both happened: first the line, then the power
        return set(found[0].split("+")) <= {"link_down", "power_down"}
    return found[0] == CAUSE[fault.kind]


def main() -> int:
    """Run the rounds and print the results."""
    options = arguments(__doc__)
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    console = Console()
    data: dict[str, Any] = district_data()
    for office in data["offices"]:  # loss is one of the faults here, not a property of the lines
        for way in office["truth"].values():
            way.pop("loss", None)
    reports = Path(tempfile.mkdtemp())
    uplink_wrong = cuts = 0
    with running(LabPlace(data, "jhflt"), data, reports, console) as (one, _):
        one.wait_for_agents()
        district = District(one, options.seed, quick=options.quick)
        with district.watched():
            time.sleep(CALM_SECONDS)
            for number in range(rounds):
                console.print(f"round {number + 1} of {rounds} …")
                district.round()
                time.sleep(CALM_SECONDS)
                if number % 5 == 2:
                    uplink_wrong += len(district.cut_uplink(20))
                    cuts += 1
                    time.sleep(CALM_SECONDS)
                if number % 7 == 4:
                    district.kill_hub()
                    time.sleep(CALM_SECONDS)
            if not options.quick:
                time.sleep(ATTRIBUTED_SECONDS - CALM_SECONDS)
        store = Store(f"sqlite:///{one.installation.directory}/monitor.db", SystemClock())
        rows = judge(district, store, uplink_wrong, cuts)
        store.close()
    return finish("Outages and their causes", rows, options)


if __name__ == "__main__":
    sys.exit(main())
