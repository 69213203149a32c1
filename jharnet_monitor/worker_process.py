"""Runs a module as a process of its own, which is killed if it takes too long.

For work that would block the event loop, or whose libraries the caller must not load.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Any

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Short work does not need a thread on every core."""


async def ask_process(module: str, question: Any, seconds: float) -> Any:
    """Run `module` with the question as JSON on its standard input; returns its output, parsed.

    Raises `TimeoutError` after `seconds`, and `ValueError` if the process cannot be started, fails
    or answers no JSON. It has always ended afterwards.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", module, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **ONE_THREAD},
        )  # fmt: skip
    except OSError as error:  # short of memory, or of processes
        raise ValueError(f"{module} could not be started: {error}") from error
    try:
        async with asyncio.timeout(seconds):
            output, _ = await process.communicate(json.dumps(question).encode())
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise ValueError(f"{module} ended with status {process.returncode}")
    return json.loads(output)
