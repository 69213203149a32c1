"""Chromium without a screen, for tests and benchmarks."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright, expect

from jharnet_monitor.lab import Lab
from tests.conftest import find_program

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""Without a sandbox it runs as root, and without the rest it sends nothing of its own."""
FAKE_DEVICES = ("--use-fake-device-for-media-stream",)
"""A made-up camera and microphone."""

expect.set_options(timeout=60_000)  # milliseconds; by default 5 s, which a busy machine may take


@asynccontextmanager
async def chromium(
    *arguments: str, program: Path | None = None, home: Path | None = None
) -> AsyncIterator[Browser]:
    """A running Chromium, or what `program` starts."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=program or find_program("chromium"),
            args=[*QUIET, *arguments],
            env=None if home is None else {**os.environ, "HOME": str(home)},
            timeout=120_000,
        )
        try:
            yield browser
        finally:
            await browser.close()


def chromium_at(lab: Lab, where: str, directory: Path, nice: int = 0) -> Path:
    """A program that starts Chromium at an office of the lab, or at headquarters."""
    program = directory / f"chromium-{where}"
    inside = f"nice -n {nice} ip netns exec {lab.namespace(where)} {find_program('chromium')}"
    program.write_text(f'#!/bin/sh\nexec {inside} "$@"\n')
    program.chmod(0o755)
    return program
