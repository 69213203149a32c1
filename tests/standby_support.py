"""A hub in a directory of its own, for tests of backup and restore."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from jharnet_monitor.clock import ManualClock, SystemClock
from jharnet_monitor.config.load import load_config
from jharnet_monitor.disk_queue import DiskQueue
from jharnet_monitor.security.tls import Files, make_authority, make_certificate
from jharnet_monitor.security.tokens import hash_token, write_secret
from jharnet_monitor.store import Store
from tests.store_support import START, one

BEGIN = START - timedelta(hours=2)


def hub_in(directory: Path, database: str = "sqlite:///data/monitor.db", **sections: Any) -> Path:
    """A hub's directory with all that belongs to it, and a sealed hour; returns the file."""
    files, now = Files(directory / "tls"), SystemClock().now()
    make_authority(files, "East Singhbhum", now, ["hub.example.in"])
    make_certificate(files, ["hub.example.in"], [], now)
    write_secret(directory / "secrets/potka", hash_token("a-token"), replace=True)
    write_secret(directory / "secrets/api", "x" * 32, replace=True)
    (directory / "reports").mkdir()
    (directory / "reports/week.pdf").write_bytes(b"%PDF signed")
    file = directory / "jharnet.yaml"
    data = {
        "district": {"id": "d", "name": "East Singhbhum", "name_hi": "पूर्वी सिंहभूम"},
        "hub": {"database": database, "api_token_file": "secrets/api",
                "tls": {"certificate": "tls/hub.pem", "key": "tls/hub.key"},
                "uplink": {"contracted": "34 Mbit/s"}},
        "report": {"directory": "reports"},
        "offices": [{"id": "potka", "name": "Potka", "name_hi": "पोटका", "pc": "127.0.0.2",
                     "agent": {"token_hash_file": "secrets/potka"}}],
        **sections,
    }  # fmt: skip
    file.write_text(yaml.safe_dump(data), "utf-8")
    config = load_config(file)
    clock = ManualClock(BEGIN)
    store = Store(config.hub.database, clock)
    store.ownership.take()
    store.migrate()
    store.ownership.take()
    store.add([one(f"m{n}", n - 120) for n in range(40)])
    clock.step(2 * 3600)
    store.chain.seal()
    store.close()
    queue = DiskQueue(config.waiting_file, 100)
    queue.put("beat", "{}")
    queue.close()
    return file
