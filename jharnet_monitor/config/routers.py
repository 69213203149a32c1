"""How a router is asked for its counters: SNMP, with every secret in a file of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jharnet_monitor.config.fields import Address, Count, FilePath, Text
from jharnet_monitor.config.section import Section


class SnmpUser(Section):
    """An SNMPv3 user (RFC 3414): authenticated, and encrypted where it has a privacy file."""

    name: Text = Field(examples=["jharnet"])
    """The user's name on the router."""
    auth: Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512"] = "sha256"
    """How the user is authenticated; old routers know `sha1` only."""
    auth_file: FilePath = Field(examples=["secrets/snmp-auth"])
    """Its password, mode 600."""
    privacy: Literal["des", "aes128", "aes192", "aes256"] = "aes128"
    """How what is asked is encrypted, if there is a `privacy_file`."""
    privacy_file: FilePath | None = None
    """Its password, mode 600."""


class Snmp(Section):
    """How a router is asked, and for which interface: the one that the line is plugged into."""

    interface: Text = Field(examples=["GigabitEthernet0/0"])
    """Its name as the router has it (ifName, ifDescr or ifAlias), or its number (ifIndex)."""
    address: Address | None = None
    """Where the router answers SNMP, if not at the address that is pinged."""
    port: Annotated[Count, Field(ge=1, le=65535)] = 161
    """The router's UDP port."""
    community_file: FilePath | None = None
    """SNMPv2c: the community, mode 600. It crosses the line in the clear."""
    user: SnmpUser | None = None
    """SNMPv3."""

    @model_validator(mode="after")
    def _one_proof(self) -> Snmp:
        if (self.community_file is None) == (self.user is None):
            raise ValueError("needs either `community_file:` (SNMPv2c) or `user:` (SNMPv3)")
        return self
