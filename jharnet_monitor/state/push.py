"""Submits a week to the state: makes it from the hub's database, signs it, sends it by HTTPS."""

from __future__ import annotations

import asyncio
import json
import ssl
from datetime import datetime
from typing import Any

import aiohttp

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.config.schema import StateSettings
from jharnet_monitor.errors import StoreError, TemporaryError, UserError
from jharnet_monitor.judge.calendar.period import Period
from jharnet_monitor.security.signing import read_key
from jharnet_monitor.state.make import make_week
from jharnet_monitor.state.proof import HEADER, prove
from jharnet_monitor.state.refused import WeekRefusedError
from jharnet_monitor.state.week import SignedWeek, signed
from jharnet_monitor.store import Store
from jharnet_monitor.wire.connect_errors import describe_error

PATH = "/api/v1/weeks"
SECONDS = 60.0
_MOST_ANSWER = 4096
_RETRY_STATUSES = (408, 429)


def make_signed(config: Config, period: Period, now: datetime) -> SignedWeek:
    """Make and sign a week from the configured database; raises `UserError`, `StoreError`."""
    settings = _settings(config)
    key = read_key(settings.key_file)
    store = Store(config.hub.database, SystemClock())
    try:
        store.require_schema()
        return signed(make_week(store, config, period, now), key)
    finally:
        store.close()


def make_and_send(config: Config, period: Period, now: datetime) -> str:
    """Make and submit a week; returns the receiver's result (`stored` or `held`).

    Raises `StoreError` if a later attempt may succeed, `WeekRefusedError` if none will, and
    `UserError` if somebody has to change something first.
    """
    week = make_signed(config, period, now)
    try:
        return asyncio.run(send(_settings(config), week))
    except TemporaryError as error:
        raise StoreError(str(error)) from error


async def send(settings: StateSettings, week: SignedWeek) -> str:
    """Submit a signed week; raises `TemporaryError`, `WeekRefusedError` if the receiver refuses it
    for good, and `UserError` for another refusal."""
    address = settings.url + PATH
    body = week.model_dump_json().encode()
    proof = prove(read_key(settings.key_file), week.read().district, body)
    headers = {HEADER: proof.header(), "Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(SECONDS)) as http,
            http.post(address, data=body, headers=headers, ssl=_context(settings)) as answer,
        ):
            text = (await answer.content.read(_MOST_ANSWER)).decode("utf-8", "replace")
            status = answer.status
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise TemporaryError(f"state.url: {address}: {describe_error(error)}") from error
    if status in _RETRY_STATUSES or status >= 500:
        raise TemporaryError(f"state.url: {address}: answered {status}: {text[:200]}")
    if status >= 400:
        raise _refusal(address, text)
    try:
        result: Any = json.loads(text)
        return str(result["result"])
    except (ValueError, KeyError, TypeError) as error:
        raise TemporaryError(f"state.url: {address}: is not the state's receiver") from error


def _refusal(address: str, text: str) -> UserError:
    """The error for an answer of status 4xx; only the receiver can say that it is for good."""
    try:
        answer: Any = json.loads(text)
        why, final = str(answer["error"])[:200], answer.get("final") is True
    except (ValueError, KeyError, TypeError, AttributeError):
        why, final = text[:200], False
    kind = WeekRefusedError if final else UserError
    return kind(f"state.url: {address}: refused the week: {why}")


def _settings(config: Config) -> StateSettings:
    if config.state is None:
        raise UserError("state: is not set; set the state's receiver and the hub's key there")
    return config.state


def _context(settings: StateSettings) -> ssl.SSLContext | bool:
    if settings.ca is None:
        return True
    return ssl.create_default_context(cafile=settings.ca)
