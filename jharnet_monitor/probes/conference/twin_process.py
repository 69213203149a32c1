"""The twin's own process: answers one question, from standard input to standard output.

The simulation takes seconds of CPU. It runs at low priority, and leaves out changes of the line
that would take it beyond its limits.
"""

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from jharnet_monitor.judge import twin
from jharnet_monitor.judge.conference.grade import Criteria
from jharnet_monitor.judge.twin.clients import Client
from jharnet_monitor.judge.twin.line import LineModel
from jharnet_monitor.judge.twin.stored_whatif import ChangeAnswer, LineChange

_NICE = 10
MOST_CPU = 15.0
"""Seconds of CPU for a question with all changes of the line."""
MOST_SECONDS = 60.0
"""Seconds of real time after which no further change is begun."""
MODEL = (
    "call", "clients", "control", "encoder", "line", "model_error", "path", "picture", "predict",
    "predict_changes", "prediction", "stored_whatif", "transfers", "voice",
)  # fmt: skip
"""The modules of `judge.twin` on which an answer depends."""


def main() -> None:
    """Answer one question."""
    os.nice(_NICE)
    json.dump(answered(json.load(sys.stdin)), sys.stdout)


def answered(question: Mapping[str, Any]) -> dict[str, Any]:
    """The probabilities on a line and after as many changes of it as there is time for, and what
    else they depend on: the program's version of the model, and this computer's arithmetic."""
    # They load numpy, which only this process needs.
    from jharnet_monitor.judge.twin.predict import predict  # noqa: PLC0415
    from jharnet_monitor.judge.twin.predict_changes import (  # noqa: PLC0415
        groups_of,
        predict_group,
        relative_cost,
    )

    line, client = LineModel.from_json(question["line"]), Client(**question["client"])
    criteria = Criteria(**question["criteria"])
    changes = [LineChange(**change) for change in question.get("changes", ())]
    before, started = time.process_time(), time.monotonic()
    found = predict(line, client, criteria)
    one = time.process_time() - before
    if question.get("limited", True):
        in_time = time.monotonic() - started < MOST_SECONDS
        left = MOST_CPU - time.process_time() if in_time else 0.0
        while changes and one * relative_cost(line, changes) > left:
            changes.pop()  # the last are the least informative
    answers: list[ChangeAnswer] = []
    for group in groups_of(line, changes):
        answers += predict_group(line, group, client, criteria)
    return {
        "cpu_seconds": time.process_time(),
        "probabilities": found.probabilities,
        "whatif": [each.change.to_json() | {"probabilities": each.prediction.probabilities}
                   for each in answers],
        "version": f"{model_version(question['criteria'])}-{arithmetic()}",
    }  # fmt: skip


def model_version(criteria: Mapping[str, Any]) -> str:
    """Eight digits that differ where the model or the criteria of a grade do."""
    here = Path(next(iter(twin.__path__)))
    parts = [(here / f"{name}.py").read_bytes() for name in MODEL]
    parts.append(json.dumps(criteria, sort_keys=True).encode())
    return sha256(b"\0".join(parts)).hexdigest()[:8]


def arithmetic() -> str:
    """Eight digits that differ where numpy's functions give other last digits.

    They depend on numpy's version and on the kind of processor, and a simulated call on them.
    """
    import numpy as np  # noqa: PLC0415

    rng = np.random.default_rng(1)
    x = rng.random(4096) + 0.1
    drawn = (rng.standard_t(3.0, 512), rng.standard_normal(512), rng.exponential(1.0, 512))
    parts = (np.exp(x), np.log(x), x**1.7, np.sqrt(x), np.cumsum(x), x[:64] @ x[64:128], *drawn)
    return f"{zlib.crc32(b''.join(np.asarray(part).tobytes() for part in parts)):08x}"


if __name__ == "__main__":
    main()
