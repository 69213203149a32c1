"""Shared by several test files: a small valid configuration, and its helpers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from jharnet_monitor.agent.daemon import Agent
from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.probes import PROBES, ProbeContext

OFFICES = ("potka", "boram", "patamda")


def stand_in(monkeypatch: pytest.MonkeyPatch, name: str, **declared: Any) -> None:
    """Let a probe of the test's own stand for a real one: undeclared parts stay the same."""
    monkeypatch.setitem(PROBES, name, replace(PROBES[name], **declared))


def make_context(**options: Any) -> ProbeContext:
    """The context of a probe of the first office, without an agent."""
    config = make_config()
    return ProbeContext(config, config.offices[0], SystemClock(), None, options)


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
