"""The agent's own process, which loads neither the command line nor the reader of its file.

Both need pydantic and more: 11 MB, which an agent would hold for as long as it runs. So the
command `agent`, once it has read all, replaces itself with this program (`exec`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence

from jharnet_monitor.agent.settings import AgentSettings
from jharnet_monitor.commands.process import errors_as_exit_codes, set_up_logging, until_signal
from jharnet_monitor.errors import UserError

PROGRAM = "jharnet_monitor.commands.agent_process"


def become(settings: AgentSettings, log_level: str) -> None:
    """Replace this process with the agent's; returns where that cannot be, as on Windows.

    The settings, which hold the token, go through a pipe. The options are repeated, but only to be
    seen in a list of processes, and for `start_again`.
    """
    if not hasattr(os, "fork"):
        return
    reader, writer = os.pipe()
    order = {"settings": settings.to_json(), "log_level": log_level, "argv": sys.argv}
    with os.fdopen(writer, "w", encoding="utf-8") as pipe:
        json.dump(order, pipe)
    os.set_inheritable(reader, True)
    sys.stdout.flush()
    sys.stderr.flush()
    argv = [sys.executable, "-P", "-m", PROGRAM, str(reader), *sys.argv[1:]]
    os.execv(sys.executable, argv)  # noqa: S606 - our own


def run(settings: AgentSettings, arguments: Sequence[str]) -> None:
    """Run the agent until a signal; raises `UserError` if the hub refuses it.

    With `arguments` it is started again after an update.
    """
    from jharnet_monitor.agent.daemon import Agent, RefusedError  # noqa: PLC0415 - see above
    from jharnet_monitor.agent.launch import start_again  # noqa: PLC0415
    from jharnet_monitor.clock import SystemClock  # noqa: PLC0415

    async def until_stopped() -> bool:
        one = Agent(settings, SystemClock())
        await until_signal(one.run, one.stop)
        return one.restart_wanted

    try:
        restart = asyncio.run(until_stopped())
    except RefusedError as error:
        _end_in_order(settings)
        raise UserError(str(error)) from None
    except UserError:
        _end_in_order(settings)
        raise
    _end_in_order(settings)
    if restart:
        start_again(arguments)


def _end_in_order(settings: AgentSettings) -> None:
    """Note that this process did not crash, for the one that counts the starts of its version."""
    from jharnet_monitor.agent.launch import versions_in  # noqa: PLC0415 - see above

    if settings.updates is not None:
        with contextlib.suppress(OSError):
            versions_in(settings.updates).forget_starts()


def main() -> None:
    """Read the settings from the pipe that `become` left open, and run."""
    with os.fdopen(int(sys.argv[1]), encoding="utf-8") as pipe:
        order = json.load(pipe)
    sys.argv = order["argv"]
    with errors_as_exit_codes():
        set_up_logging(order["log_level"])
        run(AgentSettings.of_json(order["settings"]), sys.argv[1:])


if __name__ == "__main__":
    main()
