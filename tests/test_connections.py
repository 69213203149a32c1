"""Connections are counted by address, and those beyond the limit are closed at once."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest

from jharnet_monitor.security import connections
from jharnet_monitor.security.connections import ConnectionCount
from tests.test_reload import hub_at_work


def test_one_address_takes_no_others_place() -> None:
    """An address that opens many gets no more; one that closes a connection may open another."""
    count = ConnectionCount(most=5, most_of_an_address=3)
    assert [count.open("10.0.0.1") for _ in range(4)] == [True, True, True, False]
    assert count.open("10.0.0.2")
    count.close("10.0.0.1")
    assert count.open("10.0.0.1")
    assert count.open("10.0.0.3")
    assert not count.open("10.0.0.4"), "the hub holds five at most"
    assert (count.total, count.refused) == (5, 2)


async def test_idle_connections_keep_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand idle connections from one address filled the hub's descriptors: it accepted no
    agent any more. From another address the hub answers; from the same one once they are closed."""
    monkeypatch.setattr(connections.ConnectionCount.__init__, "__defaults__", (400, 20))
    async with hub_at_work(tmp_path) as one:
        port = int(one.hub.address.rpartition(":")[2])
        idle = []
        for _ in range(60):
            client = socket.socket()
            client.setblocking(False)
            await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
            idle.append(client)
        await asyncio.sleep(0.2)
        assert one.hub._sockets[0].count.of["127.0.0.1"] == 20  # type: ignore[attr-defined]
        other = aiohttp.TCPConnector(local_addr=("127.0.0.9", 0))
        async with (
            aiohttp.ClientSession(connector=other) as http,
            http.get(f"{one.hub.address}/-/healthy") as answer,
        ):
            assert answer.status == 200
        for client in idle:
            client.close()
        await asyncio.sleep(0.2)
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{one.hub.address}/-/healthy") as answer,
        ):
            assert answer.status == 200
