"""A `pass_persist` program for snmpd, which serves the values of a JSON file."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def serve(table: str) -> None:
    """Answer requests from the current content of the table until the input ends."""
    for line in sys.stdin:
        command = line.strip()
        if command == "PING":
            print("PONG", flush=True)
            continue
        requested = sys.stdin.readline().strip()
        entries = {
            _numbers(oid): (oid, *entry)
            for oid, entry in json.loads(Path(table).read_text()).items()
        }
        found = _numbers(requested)
        if command == "getnext":
            found = min((oid for oid in entries if oid > found), default=())
        print("\n".join(map(str, entries[found])) if found in entries else "NONE", flush=True)


def _numbers(oid: str) -> tuple[int, ...]:
    return tuple(int(part) for part in oid.strip(".").split("."))


if __name__ == "__main__":
    serve(sys.argv[1])
