"""Where the demo's district lives: in the lab as root, else on loopback addresses."""

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
    """The district and its offices as the demo has them, with the truth of their links."""
    text = files("jharnet_monitor.demo").joinpath("district.yaml").read_text("utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data


def lab_spec(data: Mapping[str, Any]) -> LabSpec:
    """The lab's part of the demo's district."""
    links = {office["id"]: office["truth"] for office in data["offices"]}
    return parse_spec({"uplink": data["uplink"]["truth"], "offices": links}, "demo")


class Place(Protocol):
    """Where the demo's programs run and which addresses they have."""

    hub_address: str

    @property
    def lab(self) -> Lab | None:
        """The lab, where there is one: then there is a truth."""

    def router(self, office: str) -> str | None:
        """The office's router, where there is one."""

    def pc(self, office: str) -> str:
        """The office's PC."""

    def popen(self, where: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program at an office or at headquarters."""

    def entered(self, where: str) -> AbstractContextManager[None]:
        """The thread there, so that it can make sockets that belong there."""

    def close(self) -> None:
        """Take the place away."""


class LabPlace:
    """The district in namespaces, over links with known delay, jitter, loss, rate and queue."""

    def __init__(self, data: Mapping[str, Any], prefix: str = PREFIX) -> None:
        self.lab = Lab.start(lab_spec(data), prefix)
        self.hub_address = self.lab.addresses(HEADQUARTERS).pc

    def router(self, office: str) -> str | None:
        """The office's router."""
        return self.lab.addresses(office).router

    def pc(self, office: str) -> str:
        """The office's PC."""
        return self.lab.addresses(office).pc

    def popen(self, where: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program there."""
        return self.lab.popen(where, argv, **options)

    def entered(self, where: str) -> AbstractContextManager[None]:
        """The thread in the namespace."""
        return self.lab.inside(where)

    def close(self) -> None:
        """Take the lab away."""
        self.lab.down()


class LoopbackPlace:
    """Every office on its own loopback address: the product runs, the links are perfect."""

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
        """Start a program: everything is on this machine."""
        return subprocess.Popen(list(argv), **options)  # noqa: S603 - our own commands

    def entered(self, where: str) -> AbstractContextManager[None]:
        """The thread stays where it is."""
        return nullcontext()

    def close(self) -> None:
        """There is nothing to take away."""
