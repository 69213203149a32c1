"""Does the parts of a work side by side, each in a process of its own, to use every core."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, NoReturn, TypeVar

from jharnet_monitor.errors import TemporaryError, UserError

P = TypeVar("P")
R = TypeVar("R")


class BranchError(Exception):
    """A process ended before it had a result."""


def in_parallel(work: Callable[[P], R], parts: Sequence[P]) -> list[R]:
    """What `work` returns for each part, in order; raises what it raised, and `BranchError`.

    The first part is done here, each other one in a fork of this process, so its arguments need no
    copy; results are pickled. This process must have no other thread and no open connection to a
    database: a fork must not use it.
    """
    branches = [_Branch(work, part) for part in parts[1:]]
    try:
        return [work(parts[0]), *(branch.result() for branch in branches)]
    finally:
        for branch in branches:
            branch.end()


class _Branch(Generic[R]):
    """A fork of this process that does one part."""

    def __init__(self, work: Callable[[P], R], part: P) -> None:
        receiver, sender = os.pipe()
        self._pid: int | None = os.fork()
        if self._pid == 0:
            os.close(receiver)
            _answer(sender, work, part)
        os.close(sender)
        self._answer = os.fdopen(receiver, "rb")

    def result(self) -> R:
        """Wait for its result."""
        with self._answer:
            content = self._answer.read()
        self._wait()
        if not content:
            raise BranchError("a process that read a part of the offices ended without a result")
        good, result = pickle.loads(content)  # noqa: S301 - what our own fork wrote
        if not good:
            raise result
        found: R = result
        return found

    def end(self) -> None:
        """End it, if it still runs."""
        self._answer.close()
        if self._pid is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._wait()

    def _wait(self) -> None:
        if self._pid is not None:
            os.waitpid(self._pid, 0)
            self._pid = None


def _answer(sender: int, work: Callable[[P], R], part: P) -> NoReturn:
    """Do the part in the fork, write its result, and end without what this process does at its
    end, which is for the original to do.
    """
    code = 1
    try:
        try:
            answer = pickle.dumps((True, work(part)))
        except (TemporaryError, UserError) as error:
            answer = pickle.dumps((False, error))
        with os.fdopen(sender, "wb") as pipe:
            pipe.write(answer)
        code = 0
    except BrokenPipeError:
        pass  # the original has ended
    except Exception:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)
