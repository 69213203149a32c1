"""One office, its faults, and what hub and agent would notice of them, second by second.

The truth is the times of the cuts. The observations are those that debounced echo requests,
heartbeats and the agent's own records would have shown. Only the code that evaluates them is the
product's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from jharnet_monitor.judge.outages.causes import AgentRun
from jharnet_monitor.judge.outages.debounce import Debouncer
from jharnet_monitor.judge.outages.observations import (
    AgentConnected,
    AgentGone,
    HubChange,
    Observation,
    ReachabilityChange,
    UplinkChange,
)
from jharnet_monitor.judge.outages.state import AgentPresence, LiveEvidence, live_state
from jharnet_monitor.model import OfficeState

START = datetime(2026, 11, 23, 4, 30, tzinfo=UTC)
TIMEOUT = 2
HEARTBEAT = 5
FRESH = 6
FOLD = 60
BOOT = 30
"""Seconds from the power's return until the agent runs."""


def at(second: float) -> datetime:
    """A moment of the simulation."""
    return START + timedelta(seconds=second)


@dataclass(frozen=True, slots=True)
class Fault:
    """`link`, `power`, `lan`, `uplink`, `hub`, `killed`, `stopped`, `off` (the PC is shut down) or
    `burst`, in seconds."""

    kind: str
    begin: int
    end: int

    def on(self, second: int) -> bool:
        """Whether it lasts at this second."""
        return self.begin <= second < self.end


@dataclass
class Office:
    """The programs that run, the devices that answer, and the observations."""

    faults: Sequence[Fault]
    seconds: int
    observations: list[Observation] = field(default_factory=list)
    agent_runs: list[AgentRun] = field(default_factory=list)
    live: list[OfficeState] = field(default_factory=list)
    """The live state at each second, as the hub would have shown it."""
    boot: int = 0
    booted: int = -1000
    runs_from: int = 0
    """When the agent started or will start."""
    fold_began: int = 0
    heard: int | None = None
    """When the hub last heard the agent in the current session; None without one."""
    presence: AgentPresence = AgentPresence.NEVER
    waiting: dict[str, list[tuple[int, int, bool]]] = field(default_factory=dict)
    addresses: dict[str, Debouncer] = field(default_factory=dict)

    def run(self) -> Office:
        """Simulate every second."""
        self._hub_starts(0)
        for second in range(self.seconds):
            self._machines(second)
            self._hub(second)
        return self

    def _is(self, kind: str, second: int) -> bool:
        return any(fault.kind == kind and fault.on(second) for fault in self.faults)

    # --- at the office

    def _machines(self, second: int) -> None:
        if self._is("power", second):
            self.runs_from = second + 1 + BOOT
            self.fold_began = self.runs_from  # the current minute is lost with the power
            if not self._is("power", second + 1):
                self.boot, self.booted = self.boot + 1, second + 1
        elif self._is("off", second):
            if self._runs(second - 1):
                self._fold(second, clean_stop=True)
            self.runs_from = self.fold_began = second + 1 + BOOT
            if not self._is("off", second + 1):
                self.boot, self.booted = self.boot + 1, second + 1
        elif self._is("killed", second) or self._is("stopped", second):
            if self._runs(second - 1):
                self._fold(second, clean_stop=self._is("stopped", second))
            self.runs_from = self.fold_began = max(self.runs_from, second + 1)
        elif self._runs(second) and second - self.fold_began >= FOLD:
            self._fold(second)

    def _runs(self, second: int) -> bool:
        return second >= self.runs_from

    def _fold(self, second: int, *, clean_stop: bool = False) -> None:
        cut = sum(self._is("lan", s) for s in range(self.fold_began, second))
        if second > self.fold_began:
            gateway = cut < (second - self.fold_began) / 2
            began, end = at(self.fold_began), at(second)
            run = AgentRun(f"boot{self.boot}", began, end, gateway, clean_stop)
            self.agent_runs.append(run)
        self.fold_began = second

    # --- at headquarters

    def _hub_starts(self, second: int) -> None:
        self.addresses = {
            "gateway": Debouncer(4, 2, second),
            "router": Debouncer(5, 2, second),
            "pc": Debouncer(5, 2, second),
        }
        self.waiting = {name: [] for name in self.addresses}
        self.heard = None

    def _hub(self, second: int) -> None:
        if self._is("hub", second):
            if not self._is("hub", second - 1):
                self.observations.append(HubChange(at(second), False))
            self.live.append(OfficeState.MONITOR_DOWN)
            return
        if self._is("hub", second - 1):
            self.observations.append(HubChange(at(second), True))
            self._hub_starts(second)
            if self.presence in (AgentPresence.HEARD, AgentPresence.SILENT):
                self.presence = AgentPresence.AWAITED
        self._ping(second)
        self._listen(second)
        self.live.append(live_state(self._evidence()))

    def _carries(self, name: str, second: int) -> bool:
        """Whether a packet to an address comes back."""
        if self._is("uplink", second):
            return False
        if name == "gateway":
            return True
        broken = any(self._is(kind, second) for kind in ("link", "power", "burst"))
        if name == "router":
            return not broken
        off = self._is("lan", second) or self._is("off", second)
        return not broken and not off and second >= self.booted + BOOT / 2

    def _ping(self, second: int) -> None:
        for name, address in self.addresses.items():
            self.waiting[name].append((second, second + TIMEOUT, self._carries(name, second)))
            for item in list(self.waiting[name]):
                sent, due, answered = item
                if answered:
                    changed = address.record_reply(sent, sent + 0.04)
                elif due <= second:
                    changed = address.record_timeout(sent)
                else:
                    continue
                self.waiting[name].remove(item)
                if changed:
                    self._noted(name, address)

    def _noted(self, name: str, address: Debouncer) -> None:
        since = at(address.since)
        if name == "gateway":
            self.observations.append(UplinkChange(since, address.answers))
        elif name == "router":
            self.observations.append(ReachabilityChange(since, "router", address.answers))
        else:
            self.observations.append(ReachabilityChange(since, "pc", address.answers))

    def _listen(self, second: int) -> None:
        speaks = self._runs(second) and self._carries("pc", second)
        if speaks and (self.heard is None or second % HEARTBEAT == 0):
            if self.heard is None:
                uptime = float(second - self.booted)
                self.observations.append(AgentConnected(at(second), f"boot{self.boot}", uptime))
            self.heard, self.presence = second, AgentPresence.HEARD
        elif self.heard is not None and self._says_goodbye(second):
            self.observations.append(AgentGone(at(second), True))
            self.heard, self.presence = None, AgentPresence.GOODBYE
        elif self.heard is not None and second - self.heard > FRESH:
            self.observations.append(AgentGone(at(self.heard), False))
            self.heard, self.presence = None, AgentPresence.SILENT

    def _says_goodbye(self, second: int) -> bool:
        stops = self._is("stopped", second) or self._is("off", second)
        return stops and self._carries("router", second) and not self._is("lan", second)

    def _evidence(self) -> LiveEvidence:
        return LiveEvidence(
            router=self.addresses["router"].answers,
            pc=self.addresses["pc"].answers,
            agent=self.presence,
            uplink=self.addresses["gateway"].answers,
        )

    # --- the truth

    def truth(self, second: int) -> set[OfficeState]:
        """The states that are correct in this second."""
        if self._is("hub", second):
            return {OfficeState.MONITOR_DOWN}
        if self._is("uplink", second):
            return {OfficeState.UPLINK_DOWN}
        power, link = self._is("power", second), self._is("link", second)
        if power and link:
            return {OfficeState.POWER_DOWN, OfficeState.LINK_DOWN}
        if power:
            return {OfficeState.POWER_DOWN}
        if link:
            return {OfficeState.LINK_DOWN}
        return {
            OfficeState.UP, OfficeState.LAN_DOWN, OfficeState.AGENT_OFF, OfficeState.UNKNOWN
        }  # fmt: skip


def draw_faults(random: Random, seconds: int, count: int, overlap: bool) -> list[Fault]:
    """Faults of all kinds; with `overlap`, every third has another on top of it."""
    kinds = ["link", "power", "lan", "uplink", "hub", "killed", "stopped", "burst"]
    faults: list[Fault] = []
    gap = seconds // count
    for number in range(count):
        begin = number * gap + random.randint(90, 120)
        kind = random.choice(kinds)
        length = random.randint(1, 3) if kind == "burst" else random.randint(20, gap - 300)
        faults.append(Fault(kind, begin, begin + length))
        if overlap and number % 3 == 0:
            other = random.choice(["link", "power", "uplink", "hub"])
            later = begin + random.randint(0, length)
            faults.append(Fault(other, later, later + random.randint(20, gap - 300)))
    return faults


def draw_long_outages(random: Random, seconds: int, count: int) -> list[Fault]:
    """Cuts of line or power for up to an hour, each with up to three other faults around it: mostly
    restarts of the hub, and a PC that is shut down."""
    faults: list[Fault] = []
    for number in range(count):
        begin = number * (seconds // count) + random.randint(900, 1200)
        length = random.randint(60, 3600)
        faults.append(Fault(random.choice(["link", "power"]), begin, begin + length))
        for _ in range(random.randint(0, 3)):
            kind = random.choice(["hub", "hub", "uplink", "lan", "off"])
            later = begin + random.randint(-600, length)
            lasts = random.choice([3, 8, 20, 60, 300, 1500])
            faults.append(Fault(kind, later, later + lasts))
    return faults


def without(faults: Iterable[Fault], kind: str) -> list[Fault]:
    """The same faults except for one kind."""
    return [replace(fault) for fault in faults if fault.kind != kind]
