"""The commands of a running lab."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab.district import LabDistrict
from jharnet_monitor.lab.emulator import LATENESS_BUCKETS_PER_SECOND
from jharnet_monitor.lab.emulator_process import EmulatorProcess
from jharnet_monitor.lab.flows import describe_flow, histogram_percentile
from jharnet_monitor.lab.layout import HEADQUARTERS, UPLINK, Layout
from jharnet_monitor.lab.pipe import LINK_CUT, POWER_CUT
from jharnet_monitor.lab.spec import LabSpec, LinkDirection, parse_setting

_LATENESS_PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p999": 0.999, "max": 1.0}


class Controller:
    """Builds the lab and executes the requests of its control socket.

    Each command `NAME` is a method `do_NAME` whose parameters are the request's arguments.
    """

    def __init__(self, spec: LabSpec, layout: Layout) -> None:
        self._layout = layout
        self._district = LabDistrict(layout, spec)
        self._settings: dict[str, LinkDirection] = {}
        """By `PLACE.DIRECTION`."""
        self._cuts: dict[str, set[str]] = {name: set() for name in (UPLINK, *spec.offices)}
        for name, link in [(UPLINK, spec.uplink), *spec.offices.items()]:
            self._settings |= {f"{name}.down": link.down, f"{name}.up": link.up}
        self._spec = spec
        self.emulator = EmulatorProcess(layout, spec, self._district.tuns)
        self.stopping = asyncio.Event()

    def execute(self, request: dict[str, Any]) -> Any:
        """Execute one request and return its result; raises `UserError` if it is invalid."""
        arguments = dict(request)
        command = arguments.pop("do", None)
        handler: Callable[..., Any] | None = getattr(self, f"do_{command}", None)
        if handler is None:
            raise UserError(f"the lab has no command `{command}`")
        for name, value in arguments.items():
            if not isinstance(value, int if name == "start" else str):
                raise UserError(f"`{name}` must not be `{value}`")
        return handler(**arguments)

    def do_set(self, where: str, setting: str) -> dict[str, Any]:
        """Change one setting of one direction; returns the direction's settings."""
        down, up = self._layout.pipes_of(where)
        direction, key, value = parse_setting(setting)
        name = f"{where}.{direction}"
        self._settings[name] = self._settings[name].changed(key, value)
        dumped = self._settings[name].model_dump()
        self.emulator.request("set", down if direction == "down" else up, dumped)
        return dumped

    def do_cut(self, where: str, what: str) -> None:
        """Cut link, power or LAN of an office, or the uplink's link."""
        self._check_cut(where, what)
        if what in self._cuts[where]:
            raise UserError(f"the {what} of {where} is already cut")
        self._cuts[where].add(what)
        if what == "lan":
            self._district.disconnect_lan(where)
            return
        bit = LINK_CUT if what == "link" else POWER_CUT
        self.emulator.request("block", self._layout.pipes_of(where), bit, True)
        if what == "power":
            self._district.kill_programs(where)

    def do_restore(self, where: str, what: str) -> None:
        """Undo a cut; after a power cut the office's PC has a new boot id."""
        self._check_cut(where, what)
        if what not in self._cuts[where]:
            raise UserError(f"the {what} of {where} is not cut")
        self._cuts[where].discard(what)
        if what == "lan":
            self._district.connect_lan(where)
            return
        if what == "power":
            self._district.kill_programs(where)
            self._district.new_boot_id(where)
        bit = LINK_CUT if what == "link" else POWER_CUT
        self.emulator.request("block", self._layout.pipes_of(where), bit, False)

    def _check_cut(self, where: str, what: str) -> None:
        kinds = ("link",) if where == UPLINK else ("link", "power", "lan")
        if where != UPLINK:
            self._layout.number(where)
        if what not in kinds:
            raise UserError(f"{where} has no `{what}` to cut; it has {', '.join(kinds)}")

    def do_status(self) -> dict[str, Any]:
        """Settings, cuts and counters of all links, and the state of the emulator."""
        raw = self.emulator.request("status")
        status = _emulator_status(raw) | {
            "prefix": self._layout.prefix,
            "seed": self._spec.seed,
            "emulator_pid": self.emulator.pid,
            "interface_drops": self._district.interface_drops(),
        }
        names = (UPLINK, *self._layout.offices)
        status["links"] = {
            name: {
                "cuts": sorted(self._cuts[name]),
                **{
                    direction: {
                        "settings": self._settings[f"{name}.{direction}"].model_dump(),
                        **_pipe_status(*raw["pipes"][2 * number + (direction == "up")]),
                    }
                    for direction in ("down", "up")
                },
            }
            for number, name in enumerate(names)
        }
        return status

    def do_flows(self, start: int) -> dict[str, Any]:
        """A page of flows from number `start` on, and the number of the next page's first flow."""
        page, next_start = self.emulator.request("flows", start)
        return {"flows": [self._describe_flow(key, raw) for key, raw in page], "next": next_start}

    def _describe_flow(self, key: bytes, raw: tuple[Any, ...]) -> dict[str, Any]:
        flow = describe_flow(key, raw)
        owner = self._layout.owner
        return {"from": owner(flow["source"]), "to": owner(flow["target"]), **flow}

    def do_reset(self) -> None:
        """Reset all counters to 0."""
        self.emulator.request("reset")

    def do_offices(self) -> list[str]:
        """The ids of the offices in the order of their numbers."""
        return list(self._layout.offices)

    def do_has_power(self, where: str) -> bool:
        """Whether programs can be started there."""
        self._layout.namespace(where)
        return where == HEADQUARTERS or "power" not in self._cuts[where]

    def do_down(self) -> None:
        """Take the lab down."""
        self.stopping.set()


def _pipe_status(blocked: int, counters: Mapping[str, float]) -> dict[str, Any]:
    """The counters of one direction; its loss ratio is of the packets that were transmitted."""
    transmitted = counters["packets_in"] - counters["dropped_queue"] - counters["dropped_cut"]
    return {
        "passing": not blocked,
        **counters,
        "loss_ratio": counters["dropped_loss"] / transmitted if transmitted else None,
    }


def _emulator_status(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The emulator's state; lateness is the actual minus the planned departure of a packet."""
    lateness: dict[int, int] = raw["lateness"]
    return {
        "counting_since": raw["since"],
        "realtime": raw["realtime"],
        "cpu_seconds": raw["cpu_seconds"],
        "delivered": sum(lateness.values()),
        "lateness_ms": {
            name: histogram_percentile(lateness, share, LATENESS_BUCKETS_PER_SECOND)
            for name, share in _LATENESS_PERCENTILES.items()
        },
        **{
            name: raw[name]
            for name in ("under_way", "unroutable", "refused", "flows_known", "flows_forgotten")
        },
    }
