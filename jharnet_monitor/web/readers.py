"""Threads of the web application that read the store: slow requests delay only other requests.

Writing, judging and the hub's metrics have other threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from jharnet_monitor.web.errors import Refusal

T = TypeVar("T")

THREADS = 2
MOST_WAITING = 20
"""Reads that wait for a thread; more are refused."""


class Readers:
    """A small pool for blocking reads."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "web reads")
        self._waiting = 0

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T:
        """Run a blocking read; raises `Refusal` (503) while too many wait."""
        if self._waiting >= MOST_WAITING:
            raise Refusal(503, "too many requests at once; try again soon", {"Retry-After": "5"})
        self._waiting += 1
        loop = asyncio.get_running_loop()
        reading = loop.run_in_executor(self._pool, partial(work, *arguments))
        reading.add_done_callback(self._done)  # the client may be gone before the read ends
        return await reading

    def _done(self, reading: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not reading.cancelled():
            reading.exception()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)
