"""What can be asked of a running lab, and what then happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from jharnet_monitor.errors import UserError
from jharnet_monitor.lab.datapath import DataPath
from jharnet_monitor.lab.district import LabDistrict
from jharnet_monitor.lab.flows import describe
from jharnet_monitor.lab.layout import HEADQUARTERS, UPLINK, Layout
from jharnet_monitor.lab.pipe import LINK_CUT, POWER_CUT
from jharnet_monitor.lab.spec import LabSpec, Way, parse_setting
from jharnet_monitor.lab.truth import pipe_truth, summary


class Controller:
    """Does what the control socket asks; one `do_` method a command."""

    def __init__(self, spec: LabSpec, layout: Layout) -> None:
        self._layout = layout
        self._district = LabDistrict(layout, spec)
        self._ways: dict[str, Way] = {}
        self._cuts: dict[str, set[str]] = {name: set() for name in (UPLINK, *spec.offices)}
        for name, link in [(UPLINK, spec.uplink), *spec.offices.items()]:
            self._ways |= {f"{name}.down": link.down, f"{name}.up": link.up}
        self._spec = spec
        self.data_path = DataPath(layout, spec, self._district.tuns)
        self.stopping = asyncio.Event()

    def obey(self, request: dict[str, Any]) -> Any:
        """The answer to one request; raises `UserError` with what was wrong about it."""
        arguments = dict(request)
        command = arguments.pop("do", None)
        handler: Callable[..., Any] | None = getattr(self, f"do_{command}", None)
        if handler is None:
            raise UserError(f"the lab knows no command `{command}`")
        for name, value in arguments.items():
            if not isinstance(value, int if name == "start" else str):
                raise UserError(f"`{name}` must not be `{value}`")
        return handler(**arguments)

    def do_set(self, where: str, setting: str) -> dict[str, Any]:
        """Change one key of one direction; answers the direction as it is now."""
        down, up = self._layout.pipes_of(where)
        direction, key, value = parse_setting(setting)
        name = f"{where}.{direction}"
        self._ways[name] = self._ways[name].changed(key, value)
        dumped = self._ways[name].model_dump()
        self.data_path.ask("set", down if direction == "down" else up, dumped)
        return dumped

    def do_cut(self, where: str, what: str) -> None:
        """Cut link, power or LAN of an office, or the uplink's link."""
        self._check_cut(where, what)
        if what in self._cuts[where]:
            raise UserError(f"the {what} of {where} is cut already")
        self._cuts[where].add(what)
        if what == "lan":
            self._district.disconnect_lan(where)
            return
        bit = LINK_CUT if what == "link" else POWER_CUT
        self.data_path.ask("block", self._layout.pipes_of(where), bit, True)
        if what == "power":
            self._district.kill_programs(where)

    def do_restore(self, where: str, what: str) -> None:
        """Undo a cut; after power the office's PC has a new boot id."""
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
        self.data_path.ask("block", self._layout.pipes_of(where), bit, False)

    def _check_cut(self, where: str, what: str) -> None:
        kinds = ("link",) if where == UPLINK else ("link", "power", "lan")
        if where != UPLINK:
            self._layout.number(where)
        if what not in kinds:
            raise UserError(f"{where} has no `{what}` to cut; it has {', '.join(kinds)}")

    def do_status(self) -> dict[str, Any]:
        """Everything the emulator knows but the flows."""
        raw = self.data_path.ask("status")
        answer = summary(raw) | {
            "prefix": self._layout.prefix,
            "seed": self._spec.seed,
            "emulator_pid": self.data_path.pid,
            "interface_drops": self._district.interface_drops(),
        }
        names = (UPLINK, *self._layout.offices)
        answer["links"] = {
            name: {
                "cuts": sorted(self._cuts[name]),
                **{
                    direction: {
                        "settings": self._ways[f"{name}.{direction}"].model_dump(),
                        **pipe_truth(*raw["pipes"][2 * number + (direction == "up")]),
                    }
                    for direction in ("down", "up")
                },
            }
            for number, name in enumerate(names)
        }
        return answer

    def do_flows(self, start: int) -> dict[str, Any]:
        """A page of flows from number `start` on, and where the next page begins."""
        page, following = self.data_path.ask("flows", start)
        return {"flows": [self._describe(key, raw) for key, raw in page], "next": following}

    def _describe(self, key: bytes, raw: tuple[Any, ...]) -> dict[str, Any]:
        flow = describe(key, raw)
        place = self._layout.place
        return {"from": place(flow["source"]), "to": place(flow["target"]), **flow}

    def do_reset(self) -> None:
        """Count from 0 again."""
        self.data_path.ask("reset")

    def do_offices(self) -> list[str]:
        """The ids in the order of their numbers."""
        return list(self._layout.offices)

    def do_has_power(self, where: str) -> bool:
        """Whether programs can be started there."""
        self._layout.namespace(where)
        return where == HEADQUARTERS or "power" not in self._cuts[where]

    def do_down(self) -> None:
        """Take the lab away."""
        self.stopping.set()
