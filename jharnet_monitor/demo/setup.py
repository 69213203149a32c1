"""Writes the configuration, the certificate and the tokens of the demo's hub and agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml

from jharnet_monitor.demo.history import CHARACTERS
from jharnet_monitor.demo.places import LoopbackPlace, Place
from jharnet_monitor.security import tls, tokens

PORT = 9797
SPEEDTEST_PORT = 8089


@dataclass(frozen=True, slots=True)
class Installation:
    """The paths of the demo's files; `directory` is removed with the demo, `reports` stays."""

    directory: Path
    reports: Path

    @property
    def config(self) -> Path:
        """The hub's configuration."""
        return self.directory / "jharnet.yaml"

    @property
    def ca(self) -> Path:
        """The certificate of the authority that agents trust."""
        return tls.Files(self.directory / "tls").authority

    @property
    def api_token(self) -> Path:
        """The token with which the demo requests probes."""
        return self.directory / "secrets/api-token"

    def token(self, office: str) -> Path:
        """The token of an office's agent."""
        return self.directory / "agents" / office / "token"

    def spool(self, office: str) -> Path:
        """The spool directory of an office's agent."""
        return self.directory / "agents" / office / "spool"

    def log(self, name: str) -> Path:
        """The log file of a program."""
        return self.directory / "log" / f"{name}.log"


def install(
    place: Place, data: Mapping[str, Any], installation: Installation, now: datetime
) -> None:
    """Make the authority, the tokens and the configuration, as an engineer does for a district."""
    files = tls.Files(installation.directory / "tls")
    address = ip_address(place.hub_address)
    tls.make_authority(files, "demo", now, addresses=[address])
    tls.make_certificate(files, ["localhost"], [address], now)
    tokens.write_secret(installation.api_token, tokens.make_token())
    for office in data["offices"]:
        token = tokens.make_token()
        tokens.write_secret(installation.token(office["id"]), token)
        tokens.write_secret(
            installation.directory / "secrets" / office["id"], tokens.hash_token(token)
        )
    installation.log("hub").parent.mkdir()
    config = yaml.safe_dump(_config(place, data, installation), allow_unicode=True, sort_keys=False)
    installation.config.write_text(config, "utf-8")


def install_history(data: Mapping[str, Any], installation: Installation) -> None:
    """Write the configuration of a made-up past: a hub on this machine, without TLS."""
    place = LoopbackPlace(data)
    config = _config(place, data, installation)
    config["hub"] |= {"tls": "off", "listen": f"127.0.0.1:{PORT}"}
    config["probes"]["latency"] = {"every": "60s", "packets": 60}
    config["capacity"] = {"video": "1 Mbit/s", "other": "300 kbit/s", "seats": 8}
    config["letter"] = {"hi": {"town": "जमशेदपुर"}, "en": {"town": "Jamshedpur"}}
    config["report"] |= {
        "directive": "Test video conferencing from the district to all block offices and report; "
        "write to the department to raise the speed of JharNet (July 2024).",
        "directive_hi": "जिला स्तर से सभी प्रखण्ड कार्यालयों तक वीडियो कॉन्फ्रेंसिंग की जाँच कर प्रतिवेदन "
        "दिया जाए; झारनेट की गति बढ़ाने हेतु विभाग से पत्राचार किया जाए (जुलाई 2024)।",
    }
    for office in config["offices"]:
        character = CHARACTERS.get(office["id"])
        if character is not None:
            office["seats"] = character.seats
    tokens.write_secret(installation.api_token, tokens.make_token())
    for office in data["offices"]:
        token = tokens.hash_token(tokens.make_token())
        tokens.write_secret(installation.directory / "secrets" / office["id"], token)
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    installation.config.write_text(text, "utf-8")


def _config(place: Place, data: Mapping[str, Any], installation: Installation) -> dict[str, Any]:
    lab = place.lab is not None
    uplink = {"contracted": data["uplink"]["contracted"]}
    if lab:
        uplink["gateway"] = "10.8.0.1"
    return {
        "district": {
            "id": "east-singhbhum",
            "name": "East Singhbhum",
            "name_hi": "पूर्वी सिंहभूम",
        },
        "hub": {
            "listen": f"{place.hub_address}:{PORT}",
            "database": "sqlite:///monitor.db",
            "tls": {"certificate": "tls/hub.pem", "key": "tls/hub.key"},
            "api_token_file": "secrets/api-token",
            "udp_ports": "40000-40199",
            "uplink": uplink,
        },
        "probes": {
            "latency": {"every": "10s", "packets": 10},
            "bandwidth": {
                "every": "2h",
                "retest_after": None,  # the demo takes two minutes and has no time for retests
                "internet_every": "1d",
                "headquarters_every": None,
                "internet_server": f"http://{place.hub_address}:{SPEEDTEST_PORT}",
            },
            "conference": {"at": ["11:00", "15:00"], "seconds": 10},
        },
        "offices": [_office(place, office) for office in data["offices"]],
        "report": {"directory": str(installation.reports)},
    }


def _office(place: Place, office: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("id", "name", "name_hi", "subdivision", "latitude", "longitude")
    names = {key: office[key] for key in keys if key in office}
    return {
        **names,
        "router": place.router(office["id"]),
        "pc": place.pc(office["id"]),
        "link": {"contracted": office["contracted"], "kind": office["kind"], "sla": "99.5%"},
        "agent": {"token_hash_file": f"secrets/{office['id']}"},
    }
