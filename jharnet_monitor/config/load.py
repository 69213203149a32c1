"""Reads and checks the whole configuration; an error becomes one line with its remedy."""

from __future__ import annotations

from pathlib import Path

from jharnet_monitor.config.checks import contradictions
from jharnet_monitor.config.document import read_document
from jharnet_monitor.config.schema import Config
from jharnet_monitor.config.yaml_model import first_problem, validate


def load_config(path: Path, *, files: bool = True, base: Path | None = None) -> Config:
    """Read and check the whole configuration; raises `UserError` in one line.

    Without `files`, the certificates, tokens and passwords that it names need not exist; this is
    for the commands that create them. `base` is the directory from which relative paths are
    resolved, if the file does not lie where it will be used.
    """
    document = read_document(path)
    config = validate(document, Config, base)
    problems = dict(contradictions(config))
    if files and not problems:
        from jharnet_monitor.config.files import file_problems  # noqa: PLC0415 - it loads TLS

        problems = dict(file_problems(config, path))
    if problems:
        raise first_problem(document, problems)
    return config
