"""Picks a role's wheels for one version of Python, and writes their lock file.

python .ci/deb_wheels.py hub|agent WHEELS INTO PYTHON
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from jharnet_monitor.handover.bundle import (
    Machines,
    Source,
    complete_wheels,
    lock_of,
    projects_of,
)

role, wheels, into, python = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
source = Source(Path(__file__).resolve().parents[1])
found = complete_wheels(source, wheels, Machines(platform.machine(), [python]), [role])
for wheel in found:
    (into / "wheels" / wheel.name).write_bytes(wheel.read_bytes())
(into / "lock.txt").write_text(lock_of(found, projects_of(source, role)), "utf-8")
print(f"{role}: {len(found)} wheels for Python {python}")
