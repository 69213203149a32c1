"""The shape of `jharnet.yaml`: strict, frozen, in SI base units once read.

Defaults are the product's policy; every figure in the shipped file may be changed there. What
stands under a key here is what an editor shows for it (`config/jharnet.schema.json`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from jharnet_monitor.config.calls import CallCriteria, ConferenceProbe, PlannedDrill
from jharnet_monitor.config.case import CapacitySettings, LetterSettings
from jharnet_monitor.config.district import District
from jharnet_monitor.config.fields import (
    Address,
    ContractedRate,
    Count,
    DatabaseUrl,
    FilePath,
    Identifier,
    ListenAddress,
    MailAddress,
    Number,
    PortRange,
    Text,
    TimeOfDay,
    WebAddress,
    at_least,
    split_listen,
    split_ports,
)
from jharnet_monitor.config.routers import Snmp
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.units import Duration, Ratio, Size
from jharnet_monitor.model import Direction


class Tls(Section):
    """Certificate and key of the hub; `jharnet-monitor tls init` makes both."""

    certificate: FilePath = Field(examples=["tls/hub.pem"])
    """PEM, followed by the certificates of those who signed it."""
    key: FilePath = Field(examples=["tls/hub.key"])
    """PEM, mode 600."""


class Uplink(Section):
    """Headquarters' own line, which all offices share."""

    contracted: ContractedRate = Field(examples=["34 Mbit/s"])
    """What headquarters' line is contracted for, each way."""
    gateway: Address | None = None
    """First router of headquarters: answers when only what lies behind it is down."""
    snmp: Snmp | None = None
    """How that router is asked what the uplink carries."""


def _section_or_off(value: object) -> object:
    if value is False or isinstance(value, dict | Tls):
        return value
    if value == "off":  # what YAML 1.2, and so many an editor, makes of off
        return False
    raise ValueError("must have `certificate:` and `key:` below it, or be `off`")


class HubSettings(Section):
    """The daemon at headquarters."""

    listen: ListenAddress = "0.0.0.0:9797"
    """Address and TCP port for pages, API, metrics and agents."""
    url: WebAddress | None = None
    """Address under which people and offices reach the hub, such as `https://10.8.0.2:9797`. Alerts
    and join links lead there. Without it: the address of `listen`, else the first name in the
    certificate, else this machine's name."""
    grafana_url: WebAddress | None = None
    """Address of Grafana, such as `http://10.8.0.2:3000`. Alerts lead to its dashboards; without
    it, to the hub's own pages."""
    database: Annotated[DatabaseUrl, Field(validate_default=True)] = "sqlite:///monitor.db"
    """`sqlite:///FILE`, or `postgresql://USER@HOST/NAME` (password in ~/.pgpass)."""
    tls: Annotated[
        Annotated[Tls, Tag("section")]
        | Annotated[Literal[False], Tag("off"), WithJsonSchema({"enum": ["off", False]})],
        Discriminator(lambda value: "off" if value is False else "section"),
        BeforeValidator(_section_or_off),
    ] = Field(examples=["{certificate: tls/hub.pem, key: tls/hub.key}"])
    """Encryption of everything at `listen`, or `off` where a proxy in front of it does that."""
    api_token_file: FilePath | None = None
    """The token that lets a program or a person change something; without it nobody can."""
    udp_ports: PortRange = "40000-40199"
    """UDP ports for conference tests: open them in the firewall."""
    uplink: Uplink = Field(examples=["{contracted: 34 Mbit/s}"])

    @property
    def host(self) -> str:
        """The address to listen on."""
        return split_listen(self.listen)[0]

    @property
    def port(self) -> int:
        """The TCP port to listen on."""
        return split_listen(self.listen)[1]

    @property
    def udp_range(self) -> tuple[int, int]:
        """First and last UDP port for conference media, inclusive."""
        return split_ports(self.udp_ports)


class LatencyProbe(Section):
    """Always-on echo requests, folded into one measurement every `every`."""

    every: Annotated[Duration, AfterValidator(at_least(1, "1s"))] = 60.0
    """Length of one measurement."""
    packets: Annotated[Count, Field(ge=1, le=6000)] = 60
    """Echo requests in one measurement, spread evenly."""
    timeout: Annotated[Duration, AfterValidator(at_least(0.1, "100ms"))] = 2.0
    """A reply later than this counts as lost."""
    dscp: Annotated[Count, Field(ge=0, le=63)] = 0
    """Traffic class of the echo requests: 46 (EF) is what voice has."""
    down_after: Annotated[Count, Field(ge=2, le=60)] = 5
    """So many unanswered requests on end, and an address is called silent."""
    up_after: Annotated[Count, Field(ge=1, le=60)] = 2
    """So many replies on end, and a silent address is called answering again."""


class BandwidthProbe(Section):
    """Throughput between agent and hub; `internet` adds the path to a speed-test server."""

    every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] = 7200.0
    """How often the line between office and headquarters is filled."""
    seconds: Annotated[Number, Field(gt=0, le=60)] = 2.5
    """Longest time that one direction of a test may take."""
    retest_after: Annotated[Duration, AfterValidator(at_least(1, "1s"))] | None = 60.0
    """A test below `thresholds.delivered` is repeated after so long, and only the repetition
    counts; null for never, then the first counts."""
    trains_every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] | None = 1200.0
    """How often two short packet trains (50 kB each) estimate what the line can carry, so that a
    drop shows between full tests; null for never."""
    internet_every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] | None = 86400.0
    """How often an office's path to the Internet is tested; null for never."""
    headquarters_every: Annotated[Duration, AfterValidator(at_least(60, "60s"))] | None = 86400.0
    """How often headquarters' own path to the Internet is tested, which fills the uplink for some
    seconds; null for never."""
    internet_server: Text | None = None
    """Address of a speed-test server of your own; null for a public one nearby."""


class UtilisationProbe(Section):
    """What the routers' interfaces carried, of every office (and uplink) with `snmp:`."""

    every: Annotated[Duration, AfterValidator(at_least(60, "60s"))] = 300.0
    """How often the counters are read; a rate is the mean over the time between two readings."""


class Probes(Section):
    """What is measured, and how often."""

    latency: LatencyProbe = LatencyProbe()
    bandwidth: BandwidthProbe = BandwidthProbe()
    conference: ConferenceProbe = ConferenceProbe()
    drill: PlannedDrill = PlannedDrill()
    utilisation: UtilisationProbe = UtilisationProbe()


class Thresholds(Section):
    """Where good ends. They live here alone; metrics export them, rules compare with them."""

    loss: Ratio = 0.02
    """Packet loss, over 15 minutes."""
    rtt: Duration = 0.3
    """Median round-trip time."""
    jitter: Duration = 0.04
    """Interarrival jitter (RFC 3550)."""
    delivered: Ratio = 0.8
    """Share of the contracted rate that has to be delivered."""
    grade: Annotated[Count, Field(ge=0, le=4)] = 3
    """Conference grade that every office should reach: 4 HD, 3 SD, 2 low video, 1 audio."""
    loaded_rtt: Duration = 1.0
    """Round-trip time while the line is full."""
    call: CallCriteria = CallCriteria()
    """What each grade of a conference asks for."""
    availability: Ratio = 0.99
    """Availability that every office should reach, where its contract promises none."""


class Link(Section):
    """What was contracted for an office's line; not public, so never a constant."""

    contracted: ContractedRate = Field(examples=["4 Mbit/s"])
    """Towards the office; each way unless `contracted_up` says otherwise."""
    contracted_up: ContractedRate | None = None
    """From the office."""
    kind: Text | None = None
    """Such as leased-line, fibre, radio, vsat."""
    sla: Ratio | None = None
    """Availability that the operator has promised."""

    def rate(self, direction: Direction) -> float:
        """The contracted rate in that direction, in bit/s."""
        if direction is Direction.UP and self.contracted_up is not None:
            return self.contracted_up
        return self.contracted


class AgentAccess(Section):
    """How an office's agent proves who it is."""

    token_hash_file: FilePath = Field(examples=["secrets/potka"])
    """Made by `jharnet-monitor token OFFICE`; holds no token, only its hash."""


class Office(Section):
    """One block office: at least one address."""

    id: Identifier = Field(examples=["potka"])
    """Small letters, digits and hyphens. Stands in addresses, metrics and file names; measurements
    go by it, so it does not change."""
    name: Text = Field(examples=["Potka"])
    """In English."""
    name_hi: Text = Field(examples=["पोटका"])
    """In Hindi."""
    subdivision: Text | None = None
    """Of the district, such as Dhalbhum."""
    latitude: Annotated[Number, Field(ge=-90, le=90)] | None = None
    """Degrees north; for the map."""
    longitude: Annotated[Number, Field(ge=-180, le=180)] | None = None
    """Degrees east."""
    router: Address | None = None
    """The office's JharNet router: answers as long as line and power are there."""
    pc: Address | None = None
    """A machine behind the router: tells a fault of the office's own network."""
    snmp: Snmp | None = None
    """How the router is asked what the line carries, and for how long it has been running."""
    link: Link | None = None
    """What was contracted; without it nothing can be compared with a contract."""
    agent: AgentAccess | None = None
    """Without it only latency is measured."""
    seats: Annotated[Count, Field(ge=0, le=10_000)] | None = None
    """Desks on e-Office; else `capacity.seats`."""

    @model_validator(mode="after")
    def _has_an_address(self) -> Office:
        if self.router is None and self.pc is None:
            raise ValueError("needs at least one address: add `router:` or `pc:`")
        return self

    def name_in(self, language: str) -> str:
        """The office's name in a language of the reports, `hi` or `en`."""
        return self.name_hi if language == "hi" else self.name


class Smtp(Section):
    """The mail server; the password comes from a file."""

    host: Address = Field(examples=["smtp.example.in"])
    """Name or address of the mail server."""
    port: Annotated[Count, Field(ge=1, le=65535)] = 587
    """Its TCP port."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls` on port 587, `tls` on port 465; `none` only on the machine itself."""
    user: Text | None = None
    """Account for signing in; without it nobody signs in."""
    password_file: FilePath | None = None
    """Mode 600."""
    ca: FilePath | None = None
    """Certificate (PEM) of who signed the server's, where that is no public authority."""
    sender: MailAddress = Field(default="jharnet-monitor@localhost", alias="from")
    """From whom the mails come."""


class ReportSettings(Section):
    """The weekly report: in which languages, to whom."""

    languages: Annotated[tuple[Literal["hi", "en"], ...], Field(min_length=1)] = ("hi", "en")
    """In which the report is written, and the pages' own language first."""
    to: tuple[MailAddress, ...] = ()
    """Who gets it every week."""
    day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    """When the report of the week before is made and sent."""
    at: TimeOfDay = "08:00"
    """At what time of that day, in quotes."""
    roots_to: tuple[MailAddress, ...] = ()
    """Who, outside the office, gets the week's root: what proves later that nothing was changed."""
    smtp: Smtp | None = None
    """The mail server; without it nothing is mailed."""
    directory: Annotated[FilePath, Field(validate_default=True)] = Path("reports")
    """Where the reports are kept and the hub's page `/reports` finds them."""
    directive: Text | None = None
    """What was ordered, by whom and when, in English; stands on the report's first page."""
    directive_hi: Text | None = None
    """The same in Hindi."""

    def directive_in(self, language: str) -> str | None:
        """What was ordered, in a language of the reports."""
        return self.directive_hi if language == "hi" else self.directive


class RetentionSettings(Section):
    """How long measurements are kept; bandwidth, conference, outages and drills for ever."""

    raw: Annotated[Duration, AfterValidator(at_least(92 * 86400, "92d"))] = 400 * 86400.0
    """What is measured every minute; of each older day its spread remains."""


class Config(Section):
    """The whole file."""

    district: District = Field(examples=["{id: east-singhbhum, ...}"])
    hub: HubSettings = Field(examples=["{listen: 0.0.0.0:9797, ...}"])
    probes: Probes = Probes()
    budget: Size = 300_000_000
    """Bytes a day and office that all bandwidth tests, conference tests and drills may use."""
    thresholds: Thresholds = Thresholds()
    offices: Annotated[tuple[Office, ...], Field(min_length=1, examples=["[{id: potka, ...}]"])]
    """The block offices, in the order in which pages and reports list them."""
    report: ReportSettings = ReportSettings()
    retention: RetentionSettings = RetentionSettings()
    capacity: CapacitySettings = CapacitySettings()
    letter: LetterSettings = LetterSettings()

    def office(self, office_id: str) -> Office:
        """The office by its id; raises `KeyError` that lists the known ones."""
        for office in self.offices:
            if office.id == office_id:
                return office
        known = ", ".join(o.id for o in self.offices)
        raise KeyError(f"no office `{office_id}`; the configuration has {known}")
