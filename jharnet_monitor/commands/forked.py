"""Runs a function in a fork of this process, so that its libraries take memory only meanwhile."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from jharnet_monitor.errors import UserError


def in_fork(function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns, which must be JSON; its `UserError` is raised here.

    Only for a process that has no thread yet. Without fork(2), as on Windows, the function runs in
    this process. Raises `RuntimeError` if it fails in any other way.
    """
    if not hasattr(os, "fork"):
        return function(*arguments)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _answer(writer, function, *arguments)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise RuntimeError(f"{function} failed in a process of its own")
    answer = json.loads(text)
    if "error" in answer:
        raise UserError(answer["error"])
    return answer["value"]


def _answer(writer: int, function: Callable[..., Any], *arguments: Any) -> None:
    """Write the answer, and end this process without what the parent's exit would do."""
    status = 1
    try:
        try:
            answer = {"value": function(*arguments)}
        except UserError as error:
            answer = {"error": str(error)}
        with os.fdopen(writer, "w", encoding="utf-8") as pipe:
            json.dump(answer, pipe)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)
