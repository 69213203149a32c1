"""How to read a router's counters by SNMP; each secret is in a file of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from jharnet_monitor.config.fields import Address, Count, FilePath, Text
from jharnet_monitor.config.section import Section


class SnmpUser(Section):
    """An SNMPv3 user (RFC 3414) with authentication, and encryption if `privacy_file` is set."""

    name: Text = Field(examples=["jharnet"])
    """The user's name on the router."""
    auth: Literal["md5", "sha1", "sha224", "sha256", "sha384", "sha512"] = "sha256"
    """Authentication protocol; old routers support only `sha1`."""
    auth_file: FilePath = Field(examples=["secrets/snmp-auth"])
    """File with the password, mode 600."""
    privacy: Literal["des", "aes128", "aes192", "aes256"] = "aes128"
    """Encryption, if `privacy_file` is set."""
    privacy_file: FilePath | None = None
    """File with the password, mode 600."""


class Snmp(Section):
    """How to query a router, and the interface to which the line is connected."""

    interface: Text = Field(examples=["GigabitEthernet0/0"])
    """The interface's ifName, ifDescr or ifAlias, or its number (ifIndex)."""
    lan_interface: Text | None = None
    """The interface to the office's own network. At half duplex, or with damaged packets, a slow
    test is no fault of the line."""
    address: Address | None = None
    """Address for SNMP, if it is not the one that is pinged."""
    port: Annotated[Count, Field(ge=1, le=65535)] = 161
    """The router's UDP port."""
    community_file: FilePath | None = None
    """SNMPv2c: file with the community, mode 600. The community is sent unencrypted."""
    user: SnmpUser | None = None
    """SNMPv3."""

    @model_validator(mode="after")
    def _one_kind_of_access(self) -> Snmp:
        if (self.community_file is None) == (self.user is None):
            raise ValueError("needs either `community_file:` (SNMPv2c) or `user:` (SNMPv3)")
        return self
