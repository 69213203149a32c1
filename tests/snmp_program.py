"""What snmpd asks for the values of a JSON file: its `pass_persist` program. It begins quickly."""

from __future__ import annotations

import json
import sys
from pathlib import Path


def serve(table: str) -> None:
    """Answer with what the table holds now, until there are no more questions."""
    for line in sys.stdin:
        command = line.strip()
        if command == "PING":
            print("PONG", flush=True)
            continue
        asked = sys.stdin.readline().strip()
        told = {
            _numbers(oid): (oid, *entry)
            for oid, entry in json.loads(Path(table).read_text()).items()
        }
        here = _numbers(asked)
        if command == "getnext":
            here = min((oid for oid in told if oid > here), default=())
        print("\n".join(map(str, told[here])) if here in told else "NONE", flush=True)


def _numbers(oid: str) -> tuple[int, ...]:
    return tuple(int(part) for part in oid.strip(".").split("."))


if __name__ == "__main__":
    serve(sys.argv[1])
