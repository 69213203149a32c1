"""Writes lock files for Windows: packages that have wheels, and packages published only as source.

python .ci/windows/lock.py LOCK REST ALONE
python .ci/windows/lock.py --of WHEELS LOCK
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from jharnet_monitor.handover.bundle import lock_of
from jharnet_monitor.handover.lock_files import WITHOUT_WHEEL

if sys.argv[1] == "--of":
    wheels = sorted(Path(sys.argv[2]).glob("*.whl"))
    names = {re.sub(r"[-_.]+", "-", one.name.split("-")[0]).lower() for one in wheels}
    Path(sys.argv[3]).write_text(lock_of(wheels, names), "utf-8")
else:
    lock, rest, alone = map(Path, sys.argv[1:])
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text("utf-8").strip())
    # pip evaluates markers for the machine on which it runs, not for the one for which it fetches.
    entries = [re.sub(r" ; sys_platform == 'win32'", "", entry) for entry in entries]
    for path, source_only in ((rest, False), (alone, True)):
        chosen = [e for e in entries if (e.split("==")[0] in WITHOUT_WHEEL) is source_only]
        path.write_text("\n".join(chosen) + "\n", "utf-8")
