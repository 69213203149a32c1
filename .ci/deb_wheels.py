"""Picks a role's wheels for one version of Python, and writes their lock file.

python .ci/deb_wheels.py hub|agent WHEELS INTO PYTHON
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from jharnet_monitor.handover.bundle import Source, lock_of, projects_of
from jharnet_monitor.handover.wheel_choice import wheels_for

role, wheels, into, python = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
projects = projects_of(Source(Path(__file__).resolve().parents[1]), role)
names = wheels_for(python, platform.machine(), [p.name for p in wheels.glob("*.whl")], projects)
for name in names:
    (into / "wheels" / name).write_bytes((wheels / name).read_bytes())
(into / "lock.txt").write_text(lock_of([wheels / name for name in names], projects), "utf-8")
print(f"{role}: {len(names)} wheels for Python {python}")
