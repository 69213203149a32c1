"""The shape of `jharnet.yaml`: strict, frozen, in SI base units once read.

Defaults are the product's policy; every figure in the shipped file may be changed there.
"""

from __future__ import annotations

import re
from datetime import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from jharnet_monitor.config.units import Duration, Rate, Ratio, Size

_ID = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$")
_HOST = re.compile(r"^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$")


def _identifier(value: str) -> str:
    if not _ID.match(value):
        raise ValueError(
            f"must be small letters, digits and hyphens, such as `potka`, not `{value}`"
        )
    return value


def _address(value: str) -> str:
    """An IP address, or a name to be resolved anew as time passes."""
    if re.fullmatch(r"[0-9.]+", value) or ":" in value:
        try:
            IPv6Address(value) if ":" in value else IPv4Address(value)
        except ValueError as error:
            raise ValueError(f"is no IP address: `{value}`") from error
    elif not _HOST.match(value):
        raise ValueError(f"must be an IP address or a host name, not `{value}`")
    return value


def _clock_time(value: str) -> str:
    try:
        time.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f'must be a time of day such as "11:00", not `{value}`') from error
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
Address = Annotated[str, AfterValidator(_address)]
TimeOfDay = Annotated[str, AfterValidator(_clock_time)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class OfficeHours(_Section):
    """When people work; breaches and breach alerts are judged inside of it."""

    days: str = "mon-sat"
    from_: TimeOfDay = Field("10:00", alias="from")
    to: TimeOfDay = "17:30"
    holidays: str | None = "IN-JH"


class District(_Section):
    """The district that the hub serves."""

    id: Identifier
    name: str
    name_hi: str
    timezone: str = "Asia/Kolkata"
    office_hours: OfficeHours = OfficeHours()  # type: ignore[call-arg]


class Tls(_Section):
    """Certificate and key of the hub, both PEM."""

    certificate: Path
    key: Path


class Uplink(_Section):
    """Headquarters' own line, which all offices share."""

    contracted: Rate
    gateway: Address | None = None


class Hub(_Section):
    """The daemon at headquarters."""

    listen: str = "0.0.0.0:9797"
    database: str = "sqlite:///monitor.db"
    tls: Tls | Literal[False]
    api_token_file: Path | None = None
    udp_ports: str = "40000-40199"
    uplink: Uplink

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The TCP port to listen on."""
        return int(self.listen.rpartition(":")[2])

    @property
    def udp_range(self) -> tuple[int, int]:
        """First and last UDP port for conference media, inclusive."""
        first, _, last = self.udp_ports.partition("-")
        return int(first), int(last)


class LatencyProbe(_Section):
    """Always-on echo requests, folded into one measurement every `every`."""

    every: Duration = 60.0
    packets: Annotated[int, Field(ge=1, le=6000)] = 60
    timeout: Duration = 2.0
    dscp: Annotated[int, Field(ge=0, le=63)] = 0


class BandwidthProbe(_Section):
    """Throughput between agent and hub; `internet` adds the path to a speed-test server."""

    every: Duration = 7200.0
    seconds: Annotated[float, Field(gt=0, le=60)] = 2.5
    internet_every: Duration | None = 86400.0
    internet_server: str | None = None


class ConferenceProbe(_Section):
    """Two-way WebRTC calls between hub and agent."""

    at: tuple[TimeOfDay, ...] = ("11:00", "15:00")
    every: Duration | None = None
    profile: Literal["audio", "180p", "360p", "540p", "720p"] = "720p"
    seconds: Annotated[float, Field(ge=3, le=600)] = 30.0


class Probes(_Section):
    """What is measured, and how often."""

    latency: LatencyProbe = LatencyProbe()
    bandwidth: BandwidthProbe = BandwidthProbe()
    conference: ConferenceProbe = ConferenceProbe()


class Thresholds(_Section):
    """Where good ends. They live here alone; metrics export them, rules compare with them."""

    loss: Ratio = 0.02
    rtt: Duration = 0.3
    jitter: Duration = 0.04
    delivered: Ratio = 0.8
    grade: Annotated[int, Field(ge=0, le=4)] = 3
    loaded_rtt: Duration = 1.0


class Link(_Section):
    """What was contracted for an office's line; not public, so never a constant."""

    contracted: Rate
    contracted_up: Rate | None = None
    kind: str | None = None
    sla: Ratio | None = None


class AgentAccess(_Section):
    """How an office's agent proves who it is."""

    token_hash_file: Path


class Office(_Section):
    """One block office: at least one address."""

    id: Identifier
    name: str
    name_hi: str
    subdivision: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    router: Address | None = None
    pc: Address | None = None
    link: Link | None = None
    agent: AgentAccess | None = None

    @model_validator(mode="after")
    def _has_an_address(self) -> Office:
        if self.router is None and self.pc is None:
            raise ValueError("needs at least one address: add `router:` or `pc:`")
        return self


class Smtp(_Section):
    """The mail server; the password comes from a file."""

    host: Address
    port: Annotated[int, Field(ge=1, le=65535)] = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str | None = None
    password_file: Path | None = None
    sender: str = Field("jharnet-monitor@localhost", alias="from")


class ReportSettings(_Section):
    """The weekly report: in which languages, to whom."""

    languages: tuple[Literal["hi", "en"], ...] = ("hi", "en")
    to: tuple[str, ...] = ()
    smtp: Smtp | None = None


class Config(_Section):
    """The whole file."""

    district: District
    hub: Hub
    probes: Probes = Probes()
    budget: Size = 300_000_000
    thresholds: Thresholds = Thresholds()
    offices: Annotated[tuple[Office, ...], Field(min_length=1)]
    report: ReportSettings = ReportSettings()

    def office(self, office_id: str) -> Office:
        """The office by its id; raises `KeyError` that lists the known ones."""
        for office in self.offices:
            if office.id == office_id:
                return office
        known = ", ".join(o.id for o in self.offices)
        raise KeyError(f"no office `{office_id}`; the configuration has {known}")
