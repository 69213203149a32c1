"""Where the demo runs: in the lab's network namespaces as root, else on loopback addresses."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib.resources import files
from typing import Any, Protocol

import yaml

from jharnet_monitor.lab.client import Lab
from jharnet_monitor.lab.layout import HEADQUARTERS
from jharnet_monitor.lab.spec import LabSpec, parse_spec

PREFIX = "jhdemo"


def district_data() -> dict[str, Any]:
    """The demo's district and offices, with the true properties of their links."""
    text = files("jharnet_monitor.demo").joinpath("district.yaml").read_text("utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data


def lab_spec(data: Mapping[str, Any]) -> LabSpec:
    """The lab's specification of the demo's district."""
    links = {office["id"]: office["truth"] for office in data["offices"]}
    return parse_spec({"uplink": data["uplink"]["truth"], "offices": links}, "demo")


class Place(Protocol):
    """Where the demo's programs run, and their addresses."""

    hub_address: str

    @property
    def lab(self) -> Lab | None:
        """The lab; None where there is none, and then there is no truth to compare with."""

    def router(self, office: str) -> str | None:
        """The address of the office's router."""

    def pc(self, office: str) -> str:
        """The address of the office's PC."""

    def popen(self, where: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program at an office or at headquarters."""

    def entered(self, where: str) -> AbstractContextManager[None]:
        """Move the thread there, so that it can open sockets there."""

    def close(self) -> None:
        """Remove the place."""


class LabPlace:
    """The district in network namespaces, with known delay, jitter, loss, rate and queue."""

    def __init__(self, data: Mapping[str, Any], prefix: str = PREFIX) -> None:
        self.lab = Lab.start(lab_spec(data), prefix)
        self.hub_address = self.lab.addresses(HEADQUARTERS).pc

    def router(self, office: str) -> str | None:
        """The address of the office's router."""
        return self.lab.addresses(office).router

    def pc(self, office: str) -> str:
        """The office's PC."""
        return self.lab.addresses(office).pc

    def popen(self, where: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the namespace."""
        return self.lab.popen(where, argv, **options)

    def entered(self, where: str) -> AbstractContextManager[None]:
        """The thread in the namespace."""
        return self.lab.inside(where)

    def close(self) -> None:
        """Remove the lab."""
        self.lab.down()


class LoopbackPlace:
    """Every office on a loopback address of its own; the links are perfect."""

    lab = None
    hub_address = "127.8.0.2"

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._numbers = {office["id"]: n for n, office in enumerate(data["offices"], 1)}

    def router(self, office: str) -> str | None:
        """The loopback address that stands for the router."""
        return f"127.8.{self._numbers[office]}.1"

    def pc(self, office: str) -> str:
        """The loopback address that stands for the PC."""
        return f"127.8.{self._numbers[office]}.10"

    def popen(self, where: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on this machine."""
        return subprocess.Popen(list(argv), **options)  # noqa: S603 - our own commands

    def entered(self, where: str) -> AbstractContextManager[None]:
        """Leave the thread where it is."""
        return nullcontext()

    def close(self) -> None:
        """Nothing to remove."""
