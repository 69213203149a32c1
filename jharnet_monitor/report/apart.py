"""Papers made in a program of their own, so that the daemon measures on undisturbed.

Setting a report takes seconds of a core and a hundred megabytes. In the daemon it would make the
event loop late, by which calls are timed, and the memory would never come back. So the daemon
loads nothing that sets papers; `python -m jharnet_monitor.report.apart` reads an order of its own
parent from standard input, and answers on standard output.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from datetime import datetime
from importlib import import_module
from typing import Any

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.config import Config
from jharnet_monitor.errors import UserError
from jharnet_monitor.report.files import Made, SettingError
from jharnet_monitor.report.mail import Mailing
from jharnet_monitor.report.period import Period
from jharnet_monitor.store import Store, StoreError

log = logging.getLogger(__name__)

LONGEST_SECONDS = 900.0


def weekly_mails(
    _store: Store, config: Config, period: Period, now: datetime
) -> tuple[list[Mailing], list[Made]]:
    """As `report.weekly_mail.weekly_mails`, of the configuration's own database; blocks."""
    made: tuple[list[Mailing], list[Made]] = _call("_weekly_mails", config, period, now)
    return made


def _weekly_mails(config: Config, period: Period, now: datetime) -> Any:
    here = import_module("jharnet_monitor.report.weekly_mail")
    store = Store(config.hub.database, SystemClock())
    try:
        return here.weekly_mails(store, config, period, now)
    finally:
        store.close()


def keep_drill(drill: Mapping[str, Any], config: Config, made_at: datetime) -> None:
    """Put a drill's papers among the reports, where the hub's page shows them; blocks.

    A paper that cannot be made costs the drill nothing: the log says why.
    """
    try:
        for path in _call("_keep_drill", dict(drill), config, made_at):
            log.info("wrote %s", path)
    except (SettingError, UserError) as error:
        log.error("the paper of drill %s could not be made: %s", drill["id"], error)


def _keep_drill(drill: Mapping[str, Any], config: Config, made_at: datetime) -> Any:
    return import_module("jharnet_monitor.report.drill_paper").write_drill(drill, config, made_at)


def _call(name: str, *arguments: Any) -> Any:
    """Call a function of this file over there; raises what it raises, or `SettingError`."""
    argv = [sys.executable, "-m", __name__]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            argv, input=pickle.dumps((name, arguments)), stdout=subprocess.PIPE,
            timeout=LONGEST_SECONDS, check=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise SettingError(f"it was not made within {LONGEST_SECONDS:g} s") from None
    except subprocess.CalledProcessError as error:
        raise SettingError(f"its program ended by itself ({error.returncode})") from None
    good, result = pickle.loads(done.stdout)  # noqa: S301 - what our own module wrote
    if not good:
        raise result
    return result


def main() -> None:
    """Do as standard input says."""
    os.nice(10)  # whoever measures on this machine goes first
    name, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent's order
    try:
        with redirect_stdout(sys.stderr):
            answer = True, globals()[name](*arguments)
    except (SettingError, StoreError, UserError) as error:
        answer = False, error
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    main()
