"""The path probe: over three real routers and between a hub and an agent, and what it concludes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import pytest

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.current import CurrentConfig
from jharnet_monitor.hub.recorder import Recorder
from jharnet_monitor.hub.store_writer import StoreWriter
from jharnet_monitor.i18n.formats import Formats
from jharnet_monitor.judge.path import (
    HopFigures,
    MarkArrivals,
    Marking,
    Stretch,
    delay_stretch,
    loss_stretch,
    marking,
)
from jharnet_monitor.lab.namespaces import inside
from jharnet_monitor.lab.spec import LinkDirection
from jharnet_monitor.live import Live
from jharnet_monitor.model import Cause, Measurement, Outcome
from jharnet_monitor.probes import PROBES
from jharnet_monitor.probes.base import (
    AgentContext,
    ChannelClosed,
    Failed,
    NoData,
    ProbeContext,
    Reading,
)
from jharnet_monitor.probes.path import agent as agent_module
from jharnet_monitor.probes.path import exchange
from jharnet_monitor.probes.path import run as run_module
from jharnet_monitor.probes.path import trace as trace_module
from jharnet_monitor.probes.path.agent import agent_task
from jharnet_monitor.probes.path.order import TraceOrder, flow_of
from jharnet_monitor.probes.path.result import BadTrace, locate_faults, parse_trace, values
from jharnet_monitor.probes.path.run import run
from jharnet_monitor.probes.path.sockets import Protocol
from jharnet_monitor.probes.path.trace import TraceResult
from jharnet_monitor.store import Store
from jharnet_monitor.web.office import _phrase
from tests.lab_support import needs_lab
from tests.made_up import NOW
from tests.path_support import HEADQUARTERS, LINKS, OFFICE, Chain
from tests.support import make_config, running
from tests.test_session import Endpoint, make_agent

LINK = LinkDirection.model_validate({"delay": "3ms"})


def config(**path: Any) -> Config:
    """One office behind the chain, and a trace of two seconds."""
    settings = {"rounds": 12, "spacing": "40ms", "timeout": "200ms", "marks": ["EF"], **path}
    made = make_config(("potka",), probes={"path": settings}, hub={"listen": "0.0.0.0:1"})
    office = made.offices[0].model_copy(update={"router": OFFICE, "pc": None})
    return made.model_copy(update={"offices": (office,)})


@pytest.fixture(autouse=True)
def quick_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked packets close together, as nothing here has a queue."""
    monkeypatch.setattr(exchange, "SPACING_SECONDS", 0.004)
    monkeypatch.setattr(exchange, "LAST_SECONDS", 0.3)


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    """Headquarters, three routers, the office."""
    with Chain("jhnt", [(LINK, LINK)] * LINKS, 1) as chain:
        yield chain


def traced(chain: Chain, made: Config) -> Reading:
    """A run at headquarters, without an agent."""
    context = ProbeContext(made, made.offices[0], SystemClock(), None)
    with inside(chain.namespace("hq")):
        return asyncio.run(run(context))


@needs_lab
def test_a_way_that_ends_underway_says_where(chain: Chain) -> None:
    """The target is silent: failed, with the hops that still answer."""
    chain.rules(2, "forward", "oif link2 drop")
    try:
        with pytest.raises(Failed) as failed:
            traced(chain, config(rounds=5))
    finally:
        chain.clear(2)
    assert failed.value.cause is Cause.NO_REPLY
    answering = [bool(hop["received"]) for hop in failed.value.conditions["hops"]]
    assert answering == [True, True, False, False]


@needs_lab
def test_the_round_trip_is_that_of_the_packets(chain: Chain) -> None:
    """The median delay of the last hop, as the emulator saw it, whatever else this machine does."""
    began = time.monotonic()
    found = traced(chain, config())
    last = found.conditions["hops"][-1]
    truth = median(chain.round_trips(began)[-last["received"] :])
    assert found.values["rtt_p50_seconds"] == pytest.approx(truth, abs=0.004)  # a link adds 6 ms
    assert truth > 0.0235, "eight times 3 ms"


class Pipe:
    """One end of a channel between the event loops of two threads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._inbox: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.other: Pipe

    def put(self, message: dict[str, Any] | None) -> None:
        """Hand over a message from another thread; None ends the channel."""
        self._loop.call_soon_threadsafe(self._inbox.put_nowait, message)

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message."""
        self.other.put(dict(message))

    async def receive(self) -> dict[str, Any]:
        """The next message; raises `ChannelClosed`."""
        message = await self._inbox.get()
        if message is None:
            raise ChannelClosed("closed")
        return message

    async def close(self) -> None:
        """End the other half."""
        self.other.put(None)


class ChainAgent:
    """The agent of the office at the end of the chain, in a thread of its own."""

    office, address, features = "potka", OFFICE, frozenset({"path"})
    in_browser = False
    behind_proxy = False

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    async def open(self, task: str, params: Mapping[str, Any]) -> Pipe:
        """Run the agent's half in the office's namespace."""
        here = Pipe(asyncio.get_running_loop())
        ready = threading.Event()

        async def work() -> None:
            there = Pipe(asyncio.get_running_loop())
            here.other, there.other = there, here
            ready.set()
            context = AgentContext("potka", SystemClock(), f"http://{HEADQUARTERS}:9797", None)
            with contextlib.suppress(ChannelClosed):
                await agent_task(there, params, context)

        def thread() -> None:
            with inside(self._chain.namespace("pc")):
                asyncio.run(work())

        threading.Thread(target=thread, daemon=True).start()
        ready.wait()
        return here

    async def is_stalled(self) -> bool:
        """Not known."""
        return False

    def serve_transfer(self, handler: object) -> str:
        """Nothing is transferred here."""
        raise NotImplementedError


@needs_lab
@pytest.mark.parametrize(
    ("silent", "quiet", "expected"),
    [
        (False, 0.04, ["sizes", "free", "rounds"]),
        (False, 0.5, ["sizes", "rounds"]),
        (True, 0.04, ["rounds"]),
    ],
)
def test_the_line_is_free_before_the_rounds(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, silent: bool, quiet: float, expected: list[str]
) -> None:
    """Once the sizes are known, unless the rounds are close together, or the search has not met the
    target: then the caller frees the line at the end.
    """
    happened: list[str] = []

    def note(module: ModuleType, name: str, what: str) -> None:
        real = getattr(module, name)

        async def noted(*args: Any) -> Any:
            happened.append(what)
            return await real(*args)

        monkeypatch.setattr(module, name, noted)

    async def free_line() -> None:
        happened.append("free")

    note(trace_module, "path_mtu", "sizes")
    note(trace_module, "_probe_hops", "rounds")
    monkeypatch.setattr(run_module, "QUIET_SPACING_SECONDS", quiet)
    if silent:
        chain.rules(2, "forward", "oif link2 drop")
    made = config(rounds=5)
    context = ProbeContext(made, made.offices[0], SystemClock(), None, free_line=free_line)
    try:
        with inside(chain.namespace("hq")), contextlib.suppress(Failed):
            asyncio.run(run(context))
    finally:
        chain.clear(2)
    assert happened == expected


@pytest.mark.parametrize("agent", ["absent", "lost", "silent"])
async def test_the_line_is_free_without_an_exchange(
    monkeypatch: pytest.MonkeyPatch, agent: str
) -> None:
    """No agent, one whose session ends, or one whose packets never arrive."""
    freed, pipes = asyncio.Event(), list[Pipe]()

    class Silent:
        features = frozenset({"path"})

        async def open(self, task: str, params: Mapping[str, Any]) -> Pipe:
            if agent == "lost":
                raise ChannelClosed("gone")
            pipe = Pipe(asyncio.get_running_loop())
            pipe.other = pipe
            pipes.append(pipe)
            return pipe

    async def traced(*args: Any) -> TraceResult:
        await args[-1]()
        await asyncio.wait_for(freed.wait(), 5)
        for pipe in pipes:
            await pipe.close()
        return TraceResult("127.0.0.1", Protocol.ICMP, hops=[])

    async def free_line() -> None:
        freed.set()

    monkeypatch.setattr(run_module, "trace", traced)
    monkeypatch.setattr(exchange, "OPEN_SECONDS", 0.2)
    made = config(spacing="1s")
    link: Any = None if agent == "absent" else Silent()
    context = ProbeContext(made, made.offices[0], SystemClock(), link, free_line=free_line)
    with pytest.raises(Failed):
        await run(context)


async def test_the_agents_half_ends_with_the_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trace that cannot be sent leaves no session open on a line that is free again."""
    pipe = Pipe(asyncio.get_running_loop())
    pipe.other = pipe
    opened = asyncio.Event()

    class Waiting:
        features = frozenset({"path"})

        async def open(self, task: str, params: Mapping[str, Any]) -> Pipe:
            opened.set()
            return pipe

    async def traced(*args: Any) -> TraceResult:
        await asyncio.wait_for(opened.wait(), 5)
        await asyncio.sleep(0)
        raise NoData(Cause.NOT_SENT)

    monkeypatch.setattr(run_module, "trace", traced)
    made = config()
    link: Any = Waiting()
    with pytest.raises(NoData):
        await run(ProbeContext(made, made.offices[0], SystemClock(), link))
    with pytest.raises(ChannelClosed):
        await asyncio.wait_for(pipe.receive(), 5)


@needs_lab
def test_both_ways_over_three_routers(chain: Chain) -> None:
    """Hops in their order, packet size and marks, from the hub and from the agent. A black hole and
    a router that clears marks are found at their hop; marks are counted at the receiver."""
    chain.rules(1, "forward", "oif link1 ip length > 1300 drop")
    chain.rules(2, "forward", "oif link1 ip dscp set 0")
    made = config(rounds=16, spacing="120ms", timeout="1s")  # a pause of this machine loses none
    context = ProbeContext(made, made.offices[0], SystemClock(), ChainAgent(chain))
    try:
        with inside(chain.namespace("hq")):
            found = asyncio.run(run(context))
    finally:
        chain.clear(1)
        chain.clear(2)
    hops = [hop["address"] for hop in found.conditions["hops"]]
    assert hops == ["10.77.0.2", "10.77.1.2", "10.77.2.2", OFFICE]
    assert found.values["hops"] == 4 and found.values["loss_ratio"] == 0
    assert found.values["mtu_bytes"] == 1300
    assert found.conditions["mtu_black_hole"] == [1, 2]
    assert "loss_between" not in found.conditions
    back = found.conditions["back"]
    assert [hop["address"] for hop in back["hops"]][-1] == HEADQUARTERS
    assert back["mark_cleared_between"] == {"EF": [2, 3]}
    assert found.conditions["marking"] == {"EF": {"down": "keeps", "up": "clears"}}
    assert found.conditions["full"] == []


def test_loss_begins_where_all_hops_behind_show_it() -> None:
    """Not at a hop that only answers seldom, nor where too little is lost to decide."""
    full, some, seldom = HopFigures(180, 180), HopFigures(180, 150), HopFigures(180, 40)
    assert loss_stretch([full, some, some, some], 0.02) == Stretch(1, 2)
    assert loss_stretch([full, seldom, full, full], 0.02) is None
    assert loss_stretch([full, seldom, some, some], 0.02) == Stretch(1, 3)
    silent = HopFigures(180, 0)
    assert loss_stretch([full, silent, some, some], 0.02) == Stretch(1, 3)
    assert loss_stretch([full, full, full, HopFigures(180, 178)], 0.02) is None
    assert loss_stretch([full, HopFigures(5, 3)], 0.02) is None


def test_a_router_that_answers_late_holds_nothing_up() -> None:
    """A hop's own slowness is not that of the route; half of the delay or more must be in one
    place."""

    def at(rtt: float | None) -> HopFigures:
        return HopFigures(60, 60, rtt)

    assert delay_stretch([at(0.9), at(0.01), at(0.02), at(0.3)]).stretch == Stretch(3, 4)  # type: ignore[union-attr]
    assert delay_stretch([at(0.01), at(None), at(0.3)]).stretch == Stretch(1, 3)  # type: ignore[union-attr]
    assert delay_stretch([at(0.1), at(0.2), at(0.3)]) is None


def test_what_becomes_of_marks() -> None:
    """Marked packets count as favoured only where the line was full and they waited less."""
    waiting = MarkArrivals(40, 40, 40, (0.0, *(0.08,) * 39))
    quick = MarkArrivals(40, 40, 40, (0.001,) * 40)
    assert marking(quick, waiting) is Marking.FAVOURS
    assert marking(waiting, waiting) is Marking.KEEPS
    assert marking(quick, quick) is Marking.KEEPS
    assert marking(quick._replace(marked=3), waiting) is Marking.CLEARS
    assert marking(quick._replace(received=9, marked=9), waiting) is None


def output(**changed: Any) -> dict[str, Any]:
    """A trace as an agent sends it."""
    hop = [1, "10.8.0.1", 10, 9, 0.02]
    return {"protocol": "icmp", "reached": True, "hops": [hop], "other": [], "mtu": None,
            "marks": [], "bytes": 9} | changed  # fmt: skip


@pytest.mark.parametrize("wrong", [
    output(hops=[[1, "x", 10, 9, 0.02]]), output(hops=[[1, None, 10, 11, None]]),
    output(hops=[[1, None, 10, 9, -1.0]]), output(hops=[[1, None, 10**9, 9, None]]),
    output(hops=[[1, None, 10, 9, None]] * 99), output(protocol="tcp"), output(marks=[[1, 2]]),
    output(mtu={"bytes": 70_000}), output(mtu={"bytes": 1400, "lost_after": 3, "lost_before": 2}),
    output(bytes=-1), output(bytes=10**12), output(bytes="9"),
    None, 7, {"hops": "many"},
])  # fmt: skip
def test_an_agents_trace_that_cannot_be_so_is_refused(wrong: object) -> None:
    """An office's word is checked before it becomes a condition."""
    order = TraceOrder(10, 0.1, 1.0, 0.02, (46,))
    assert parse_trace(output(), order)["hops"][0]["received"] == 9
    with pytest.raises(BadTrace):
        parse_trace(wrong, order)


def test_an_agent_keeps_limits_of_its_own() -> None:
    """Whatever the hub asks for; what cannot be read ends the task."""
    order = TraceOrder.from_params(
        {"rounds": 10**9, "spacing": 0, "timeout": 99, "loss": 0.1, "marks": [46] * 9}
    )
    assert (order.rounds, order.spacing, order.timeout, len(order.marks)) == (600, 0.02, 5.0, 4)
    for wrong in ({}, {**order.to_params(), "marks": [99]}, {**order.to_params(), "rounds": "9"}):
        with pytest.raises(ValueError, match=r"trace|marks"):
            TraceOrder.from_params(wrong)
    assert exchange.from_message([[46, 99, 9, []]], (46,)) == {}
    assert exchange.from_message([[46, 9, 9, [0.1]]], (34,)) == {}


def ran(**conditions: Any) -> Measurement:
    """A trace of four hops, of which the last loses a tenth."""
    hops = [
        {"address": f"10.8.0.{n}", "sent": 180, "received": 180 if n < 4 else 160,
         "rtt_p50_seconds": 0.01 * n}
        for n in range(1, 5)
    ]  # fmt: skip
    known = {"reached": True, "protocol": "icmp", "hops": hops, "loss_between": [3, 4]}
    values = {"hops": 4.0, "loss_ratio": 20 / 180}
    return Measurement("potka", "path", NOW, 60, Outcome.OK, None, known | conditions, values)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The loss begins behind hop 3 (Ghatshila tower, BSNL)."),
        ("hi", "हानि पड़ाव 3 (Ghatshila tower, BSNL) के बाद आरंभ होती है।"),
    ],
)
def test_the_page_names_the_hop_and_its_owner(language: str, text: str) -> None:
    """By the configuration; then every hop has its line."""
    named = {"address": "10.8.0.3", "name": "Ghatshila tower", "owner": "BSNL"}
    made = config(hops=[named])
    formats = Formats.of(language, "Asia/Kolkata", NOW)
    run_ = ran(marking={"EF": {"down": "clears"}}, route_before=["10.9.9.9", None])
    lines = [_phrase(r, formats) for r in PROBES["path"].remarks(made, run_, {}, {})]
    assert text in lines[0] and "EF" in lines[1] and "10.9.9.9" in lines[2]
    assert len(lines) == 3 + 4


def test_a_change_of_the_way_is_an_event() -> None:
    """With the hops before and after."""
    ((kind, data),) = PROBES["path"].events(ran(route_before=["10.9.9.9"]))
    assert kind == "route_changed"
    assert data["before"] == ["10.9.9.9"] and data["after"][0] == "10.8.0.1"
    assert list(PROBES["path"].events(ran())) == []


def test_an_ipv6_office_is_not_configured() -> None:
    """Stated as unknown, not guessed."""
    made = config()
    office = replace_router(made, "fd00::1")
    context = ProbeContext(office, office.offices[0], SystemClock(), None)
    with pytest.raises(NoData, match="IPv4"):
        asyncio.run(run(context))


def replace_router(made: Config, address: str) -> Config:
    """The configuration with another router."""
    office = made.offices[0].model_copy(update={"router": address})
    return made.model_copy(update={"offices": (office,)})


def test_a_target_that_answers_only_udp_shows_no_loss() -> None:
    """It limits its errors as any router does: missing answers are not lost packets."""
    hop = [1, "10.8.0.1", 180, 90, 0.02]
    order = TraceOrder(60, 0.1, 1.0, 0.02, ())
    by_udp = parse_trace(output(protocol="udp", hops=[hop]), order)
    assert "loss_between" not in locate_faults(by_udp, 0.02) and "loss_ratio" not in values(
        by_udp, None
    )
    by_icmp = parse_trace(output(hops=[hop]), order)
    assert (
        locate_faults(by_icmp, 0.02)["loss_between"] == [0, 1]
        and values(by_icmp, None)["loss_ratio"]
    )


@needs_lab
def test_two_traces_of_an_office_at_the_same_time(chain: Chain) -> None:
    """Each sees every hop. One of them has another flow, whose packets may take another path: it is
    not compared with the usual one."""
    made, flow = config(rounds=5), flow_of("potka")
    before = {(Protocol.ICMP, flow): ["10.9.9.9"], (Protocol.UDP, flow): ["10.8.8.8"]}
    contexts = [
        ProbeContext(made, made.offices[0], SystemClock(), None, memory={"addresses": {**before}})
        for _ in range(2)
    ]

    async def both() -> list[Reading]:
        return list(await asyncio.gather(*map(run, contexts)))

    with inside(chain.namespace("hq")):
        found = asyncio.run(both())
    for one in found:
        assert (one.values["hops"], one.conditions["protocol"]) == (4, "icmp")
        assert all(hop["received"] for hop in one.conditions["hops"])
    changes = [one.conditions.get("route_before") for one in found]
    assert changes in ([["10.9.9.9"], None], [None, ["10.9.9.9"]])
    flows = {each for context in contexts for each in context.memory["addresses"]}
    assert flows == {*before, (Protocol.ICMP, flow + 1)}


async def test_the_event_log_holds_a_change(tmp_path: Path) -> None:
    """In addition to the measurement itself."""
    current, clock = CurrentConfig(config()), ManualClock(NOW)
    live = Live(current)
    store = Store(f"sqlite:///{tmp_path / 'monitor.db'}", clock)
    store.migrate()
    writer = StoreWriter(store, tmp_path / "waiting.db", live.hub, clock)
    await Recorder(current, writer, live, clock).record(ran(route_before=["10.9.9.9"]))
    event = store.event_log.last_event("potka", "route_changed")
    assert event is not None and event.data["before"] == ["10.9.9.9"]
    assert len(store.measurements(office="potka", probe="path")) == 1


async def test_an_agent_takes_part_over_a_real_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On loopback both ways are one hop, and marks arrive as they were sent. What both ends send
    counts for the office's budget: it was the hub's trace alone."""
    traces: list[trace_module.TraceResult] = []

    async def counted(*arguments: Any) -> trace_module.TraceResult:
        traces.append(await trace_module.trace(*arguments))
        return traces[-1]

    for half in (run_module, agent_module):
        monkeypatch.setattr(half, "trace", counted)
    made = config(rounds=5, spacing="20ms")
    office = made.offices[0].model_copy(update={"router": "127.0.0.1"})
    async with Endpoint().open() as endpoint, running(make_agent(endpoint, tmp_path / "spool")):
        agent = await endpoint.session("potka")
        found = await run(ProbeContext(made, office, SystemClock(), agent))
    assert found.values["hops"] == 1
    assert [hop["address"] for hop in found.conditions["back"]["hops"]] == ["127.0.0.1"]
    assert found.conditions["marking"] == {"EF": {"down": "keeps", "up": "keeps"}}
    marked = 2 * 2 * exchange.PACKETS * exchange.IP_BYTES
    assert len(traces) == 2 and "bytes_spent" not in found.conditions["back"]
    others = found.conditions["bytes_spent"] - sum(one.bytes for one in traces)
    assert 0.9 * marked <= others <= 1.5 * marked
