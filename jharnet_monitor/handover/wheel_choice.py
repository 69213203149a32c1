"""Chooses the wheels of a bundle for a version of Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

OLDEST_GLIBC, NEWEST_GLIBC = 17, 36
"""Wheels for glibc 2.17 (manylinux2014) up to 2.36 (Debian 12) are accepted."""


def platforms(machine: str) -> list[str]:
    """The platform tags that the target machines accept, the newest first (PEP 600)."""
    glibc = [f"manylinux_2_{n}_{machine}" for n in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)]
    return [*glibc, f"manylinux2014_{machine}", f"linux_{machine}"]


def wheels_for(python: str, machine: str, wheels: Iterable[str], projects: set[str]) -> list[str]:
    """The best wheel for each project; `projects` are normalized names (PEP 503).

    >>> names = ["a-1-py3-none-any.whl", "b-2-cp311-cp311-manylinux_2_28_x86_64.whl",
    ...          "b-2-cp312-cp312-manylinux_2_28_x86_64.whl", "c-1-py3-none-any.whl"]
    >>> wheels_for("3.12", "x86_64", names, {"a", "b"})
    ['a-1-py3-none-any.whl', 'b-2-cp312-cp312-manylinux_2_28_x86_64.whl']
    """
    rank = {tag: number for number, tag in enumerate(_tags(python, machine))}
    best: dict[str, tuple[int, str]] = {}
    for name in sorted(wheels):
        project, _, _, tags = parse_wheel_filename(name)
        fits = [rank[tag] for tag in tags if tag in rank]
        if canonicalize_name(project) in projects and fits:
            found = (min(fits), name)
            best[project] = min(found, best.get(project, found))
    return sorted(name for _, name in best.values())


def _tags(python: str, machine: str) -> Iterator[Tag]:
    major, minor = (int(part) for part in python.split("."))
    interpreter, places = f"cp{major}{minor}", platforms(machine)
    yield from cpython_tags((major, minor), abis=[interpreter], platforms=places)
    yield from compatible_tags((major, minor), interpreter, places)
