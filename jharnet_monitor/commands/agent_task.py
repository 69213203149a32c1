"""The program that an agent starts for a task in a process of its own; people never run it."""

from __future__ import annotations

import sys

from jharnet_monitor.agent.task_process import run
from jharnet_monitor.commands.process import set_up_logging

if __name__ == "__main__":
    set_up_logging(sys.argv[1])
    sys.exit(run(*sys.argv[2:]))
