"""The schema of `jharnet.yaml`: strict, frozen, in base units once read.

Defaults are the product's policy; every value in the shipped file can be changed there. An editor
shows the docstring below a key as its description (`config/jharnet.schema.json`).
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
    """PEM, followed by the certificates that signed it."""
    key: FilePath = Field(examples=["tls/hub.key"])
    """PEM, mode 600."""


class Uplink(Section):
    """Headquarters' line, which all offices share."""

    contracted: ContractedRate = Field(examples=["34 Mbit/s"])
    """Contracted rate of headquarters' line, in each direction."""
    gateway: Address | None = None
    """First router at headquarters: it still answers when only the line behind it is down."""
    snmp: Snmp | None = None
    """How to read that router's counters for the uplink."""


def _section_or_off(value: object) -> object:
    if value is False or isinstance(value, dict | Tls):
        return value
    if value == "off":  # YAML 1.2, which many editors use, reads off as text
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
    """Certificate and key for `listen`, or `off` where a proxy in front of the hub encrypts."""
    api_token_file: FilePath | None = None
    """The token that a program or a person needs to change anything; without it nobody can."""
    udp_ports: PortRange = "40000-40199"
    """UDP ports for conference tests; open them in the firewall."""
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
    """Echo requests all the time, summarised in one measurement every `every`."""

    every: Annotated[Duration, AfterValidator(at_least(1, "1s"))] = 60.0
    """Length of one measurement."""
    packets: Annotated[Count, Field(ge=1, le=6000)] = 60
    """Echo requests in one measurement, evenly spaced."""
    timeout: Annotated[Duration, AfterValidator(at_least(0.1, "100ms"))] = 2.0
    """A reply later than this counts as lost."""
    dscp: Annotated[Count, Field(ge=0, le=63)] = 0
    """Differentiated services code point of the echo requests; voice has 46 (EF)."""
    down_after: Annotated[Count, Field(ge=2, le=60)] = 5
    """Consecutive unanswered requests after which an address counts as silent."""
    up_after: Annotated[Count, Field(ge=1, le=60)] = 2
    """Consecutive replies after which a silent address counts as answering again."""


class BandwidthProbe(Section):
    """Throughput between agent and hub; `internet` adds the path to a speed-test server."""

    every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] = 7200.0
    """How often a test fills the line between office and headquarters."""
    seconds: Annotated[Number, Field(gt=0, le=60)] = 2.5
    """Longest time that one direction of a test may take, in seconds."""
    retest_after: Annotated[Duration, AfterValidator(at_least(1, "1s"))] | None = 60.0
    """Delay after which a test below `thresholds.delivered` is repeated; only the repetition
    counts. null: never, and the first test counts."""
    trains_every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] | None = 1200.0
    """How often two short packet trains (50 kB each) estimate the line's capacity, so that a drop
    shows between full tests; null for never."""
    internet_every: Annotated[Duration, AfterValidator(at_least(10, "10s"))] | None = 86400.0
    """How often an office's path to the Internet is tested; null for never."""
    headquarters_every: Annotated[Duration, AfterValidator(at_least(60, "60s"))] | None = 86400.0
    """How often headquarters' own path to the Internet is tested, which fills the uplink for some
    seconds; null for never."""
    internet_server: Text | None = None
    """Address of your own speed-test server; null for a public one nearby."""


class UtilisationProbe(Section):
    """Traffic counters of the routers of every office (and the uplink) with `snmp:`."""

    every: Annotated[Duration, AfterValidator(at_least(60, "60s"))] = 300.0
    """How often the counters are read; a rate is the mean between two readings."""


class Probes(Section):
    """What is measured, and how often."""

    latency: LatencyProbe = LatencyProbe()
    bandwidth: BandwidthProbe = BandwidthProbe()
    conference: ConferenceProbe = ConferenceProbe()
    drill: PlannedDrill = PlannedDrill()
    utilisation: UtilisationProbe = UtilisationProbe()


class ChangeCriteria(Section):
    """Smaller changes are not worth a word, however certain they are."""

    speed: Ratio = 0.05
    """Of the delivered speed, as a share of the contracted rate."""
    grade: Annotated[Number, Field(gt=0, le=4)] = 0.5
    """Of the mean conference grade."""


class Thresholds(Section):
    """The limits of a good line. Metrics export them, and alert rules compare with them."""

    loss: Ratio = 0.02
    """Packet loss, over 15 minutes."""
    rtt: Duration = 0.3
    """Median round-trip time."""
    jitter: Duration = 0.04
    """Interarrival jitter (RFC 3550)."""
    delivered: Ratio = 0.8
    """Share of the contracted rate that has to be delivered."""
    framing: Annotated[Ratio, Field(le=0.3)] = 0.03
    """Share of the contracted rate that framing and tunnels take: 2.5 % on Ethernet, 6.5 % with
    IPsec or GRE. That much less may arrive before the contract counts as not kept."""
    grade: Annotated[Count, Field(ge=0, le=4)] = 3
    """Conference grade that every office should reach: 4 HD, 3 SD, 2 low video, 1 audio."""
    loaded_rtt: Duration = 1.0
    """Round-trip time while a test fills the line."""
    call: CallCriteria = CallCriteria()
    """What a conference call needs for each grade."""
    availability: Ratio = 0.99
    """Availability that every office should reach, unless its contract promises one."""
    change: ChangeCriteria = ChangeCriteria()
    """Smallest changes that a report calls better or worse."""


class Link(Section):
    """The contract of an office's line."""

    contracted: ContractedRate = Field(examples=["4 Mbit/s"])
    """Rate towards the office, and from it unless `contracted_up` is set."""
    contracted_up: ContractedRate | None = None
    """Rate from the office."""
    kind: Text | None = None
    """Such as leased-line, fibre, radio, vsat."""
    sla: Ratio | None = None
    """Availability that the operator promises."""

    def rate(self, direction: Direction) -> float:
        """The contracted rate in that direction, in bit/s."""
        if direction is Direction.UP and self.contracted_up is not None:
            return self.contracted_up
        return self.contracted


class AgentAccess(Section):
    """How an office's agent authenticates."""

    token_hash_file: FilePath = Field(examples=["secrets/potka"])
    """Made by `jharnet-monitor token OFFICE`; contains only the token's hash."""


class Office(Section):
    """One block office, with at least one address."""

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
    """The office's JharNet router, which answers as long as line and power are there."""
    pc: Address | None = None
    """A PC behind the router, to detect faults of the office's own network."""
    snmp: Snmp | None = None
    """How to read the router's traffic counters and uptime."""
    link: Link | None = None
    """What was contracted; without it nothing can be compared with a contract."""
    agent: AgentAccess | None = None
    """Without it only latency is measured."""
    seats: Annotated[Count, Field(ge=0, le=10_000)] | None = None
    """Desks that use e-Office; default `capacity.seats`."""

    @model_validator(mode="after")
    def _has_an_address(self) -> Office:
        if self.router is None and self.pc is None:
            raise ValueError("needs at least one address: add `router:` or `pc:`")
        return self

    def name_in(self, language: str) -> str:
        """The office's name in a language of the reports, `hi` or `en`."""
        return self.name_hi if language == "hi" else self.name


class Smtp(Section):
    """The mail server; its password is in a file."""

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
    """Certificate (PEM) of the server's authority, if that is not a public one."""
    sender: MailAddress = Field(default="jharnet-monitor@localhost", alias="from")
    """From whom the mails come."""


class ReportSettings(Section):
    """The weekly report: languages and recipients."""

    languages: Annotated[tuple[Literal["hi", "en"], ...], Field(min_length=1)] = ("hi", "en")
    """In which the report is written, and the pages' own language first."""
    to: tuple[MailAddress, ...] = ()
    """Recipients of the weekly report."""
    day: Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"] = "mon"
    """Day on which the report of the previous week is made and sent."""
    at: TimeOfDay = "08:00"
    """Time of that day, in quotes."""
    roots_to: tuple[MailAddress, ...] = ()
    """Recipients outside the office for the week's root hash, which proves later that no record was
    changed."""
    smtp: Smtp | None = None
    """The mail server; without it nothing is mailed."""
    directory: Annotated[FilePath, Field(validate_default=True)] = Path("reports")
    """Directory of the reports, which the hub's page `/reports` lists."""
    directive: Text | None = None
    """The directive behind the report (what, by whom, when), in English; printed on page one."""
    directive_hi: Text | None = None
    """The directive in Hindi."""

    def directive_in(self, language: str) -> str | None:
        """What was ordered, in a language of the reports."""
        return self.directive_hi if language == "hi" else self.directive


class RetentionSettings(Section):
    """How long measurements are kept; bandwidth, conference, outages and drills for ever."""

    raw: Annotated[Duration, AfterValidator(at_least(92 * 86400, "92d"))] = 400 * 86400.0
    """Minute measurements; for each older day a daily summary remains."""


class Config(Section):
    """The whole file."""

    district: District = Field(examples=["{id: east-singhbhum, ...}"])
    hub: HubSettings = Field(examples=["{listen: 0.0.0.0:9797, ...}"])
    probes: Probes = Probes()
    budget: Size = 300_000_000
    """Bytes per day and office for all bandwidth tests, conference tests and drills."""
    thresholds: Thresholds = Thresholds()
    offices: Annotated[tuple[Office, ...], Field(min_length=1, examples=["[{id: potka, ...}]"])]
    """The block offices, in the order in which pages and reports list them."""
    report: ReportSettings = ReportSettings()
    retention: RetentionSettings = RetentionSettings()
    capacity: CapacitySettings = CapacitySettings()
    letter: LetterSettings = LetterSettings()

    def office(self, office_id: str) -> Office:
        """The office with this id; raises `KeyError` that lists the known ids."""
        for office in self.offices:
            if office.id == office_id:
                return office
        known = ", ".join(o.id for o in self.offices)
        raise KeyError(f"no office `{office_id}`; the configuration has {known}")
