"""What several test files share: a small valid configuration, and helpers around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.config import Config

OFFICES = ("potka", "boram", "patamda")


def make_config(offices: tuple[str, ...] = OFFICES, **sections: Any) -> Config:
    """A valid configuration of some offices, as if read from YAML; sections replace defaults."""
    data: dict[str, Any] = {
        "district": {"id": "east-singhbhum", "name": "East Singhbhum", "name_hi": "पूर्वी सिंहभूम"},
        "hub": {
            "listen": "127.0.0.1:0",
            "database": "sqlite:///monitor.db",
            "tls": False,
            "uplink": {"contracted": "34 Mbit/s", "gateway": "10.8.0.1"},
        },
        "offices": [
            {
                "id": office,
                "name": office.title(),
                "name_hi": office,
                "router": f"10.8.{number}.1",
                "pc": f"10.8.{number}.10",
                "link": {"contracted": "4 Mbit/s", "sla": "99.5%"},
            }
            for number, office in enumerate(offices, 1)
        ],
    }
    for name, section in sections.items():
        replaced = {**data.get(name, {}), **section} if isinstance(section, dict) else section
        data[name] = replaced
    return Config.model_validate(data)


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[Agent]:
    """An agent at work, which says goodbye at the end."""
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        agent.stop()
        await asyncio.wait_for(task, 10)
