"""Reads a YAML file into a model; an error becomes one line with file, line, key and remedy.

config/jharnet.yaml:14: probes.latency.every: must be a duration with its unit, such as `60s`
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from jharnet_monitor.config.document import Document, KeyPath, read_document
from jharnet_monitor.errors import UserError

M = TypeVar("M", bound=BaseModel)

_OTHER_BASE = re.compile(r"[-+]?0[0-7_]*[1-7_][0-7_]*|[-+]?[0-9_]+(:[0-9_]+)+(\.[0-9_]*)?")
"""Whole numbers with a 0 in front, and numbers with colons (YAML 1.1, 10.2.1)."""


def load_yaml_model(path: Path, model: type[M]) -> M:
    """Read any strict model from YAML; raises `UserError` in one line."""
    return validate(read_document(path), model)


def validate(document: Document, model: type[M], base: Path | None = None) -> M:
    """Validate a document; relative paths in it are resolved from `base`, else its directory."""
    problems = dict(_numbers_in_another_base(document))
    try:
        found = model.model_validate(document.data, context={"base": base or document.path.parent})
    except ValidationError as error:
        problems |= dict(_problems(document, model, error, set(problems)))
    else:
        if not problems:
            return found
    raise first_problem(document, problems)


def _numbers_in_another_base(document: Document) -> Iterator[tuple[KeyPath, str]]:
    """Numbers that are not those that a reader sees: to YAML 1.1, 010 is 8 and 1:30 is 90."""
    for where, written in document.written.items():
        if "<<" in where or not _OTHER_BASE.fullmatch(written):
            continue
        _, value = _locate(document.data, where)
        if isinstance(value, int | float):
            plain = written.replace("_", "").lstrip("+").lstrip("0") or "0"
            number = "" if ":" in written else f"{plain} for a number, or "
            yield where, f'is {value} to YAML; write {number}"{written}" in quotes for text'


def first_problem(document: Document, problems: dict[KeyPath, str]) -> UserError:
    """The first problem in the file, with the number of further ones."""
    where = min(problems, key=lambda p: (document.line(p), len(p)))
    more = f" (and {len(problems) - 1} more in this file)" if len(problems) > 1 else ""
    return document.error(where, problems[where] + more)


def _problems(
    document: Document, model: type[BaseModel], error: ValidationError, known: Set[KeyPath]
) -> Iterator[tuple[KeyPath, str]]:
    """The problems that validation found; of those at a `known` place only a better message."""
    found = [(p, *_locate(document.data, p["loc"])) for p in error.errors(include_url=False)]
    misspelled = {where[:-1] for p, where, _ in found if p["type"] == "extra_forbidden"}
    for problem, where, value in found:
        if problem["type"] == "extra_forbidden":
            yield where, _unknown_key(str(where[-1]), list(_fields(model, where[:-1])))
        elif problem["type"] == "missing" and where:
            if where[:-1] not in misspelled:  # else the key is there under a wrong name
                yield where, _missing(str(where[-1]), _fields(model, where[:-1]))
        elif problem["type"] != "too_short" or not value:  # else its invalid entries are reported
            written = document.written.get(where)
            if where not in known or problem["type"] == "string_type" or ":" in (written or ""):
                yield where, _message(problem, value, written)


def _locate(data: Any, loc: KeyPath) -> tuple[KeyPath, Any]:
    """The part of pydantic's location that exists in the file, and the value there.

    Pydantic adds the names of union members, which are left out.
    """
    where: KeyPath = ()
    value = data
    for number, part in enumerate(loc):
        if part == "[key]":  # pydantic's mark for a wrong key, which comes before it
            continue
        last = number == len(loc) - 1
        if isinstance(value, dict) and (part in value or last):
            value = value.get(part)  # None for a key that is missing
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            continue
        where = (*where, part)
    return where, value


def _message(problem: ErrorDetails, value: Any, raw: str | None) -> str:
    """The message for a problem: pydantic's own, or ours if that has no remedy. `raw` is how the
    file has a value that is no text.
    """
    kind, text, details = problem["type"], problem["msg"], problem.get("ctx", {})
    if kind == "value_error":
        return str(details.get("error", text))
    written = repr(value) if isinstance(value, str) else value if raw is None else raw or "nothing"
    quoted = "" if isinstance(value, dict | list) or raw == "" else f'"{raw or value}"'
    remedies = {
        "string_type": f"must be text; write it in quotes: {quoted}"
        if quoted
        else f"must be text, not {'nothing' if value is None else 'a section or a list'}",
        "int_type": f"must be a whole number, not {written}",
        "float_type": f"must be a number, not {written}",
        "model_type": f"must be a section with keys below it, not {written}",
        "model_attributes_type": f"must be a section with keys below it, not {written}",
        "dict_type": f"must be a section with keys below it, not {written}",
        "tuple_type": f"must be a list, such as `[a, b]`, not {written}",
        "list_type": f"must be a list, such as `[a, b]`, not {written}",
        "path_type": f"must be a file name, not {written}",
        "literal_error": f"must be {details.get('expected')}, not {written}",
        "too_short": f"must have at least {details.get('min_length')} entry",
    }
    return remedies.get(kind, f"{text[0].lower()}{text[1:]}, not {written}")


def _unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return f"unknown key; did you mean `{near[0]}`?"
    return f"unknown key; known here: {', '.join(known)}" if known else "unknown key; remove it"


def _missing(key: str, fields: dict[str, FieldInfo]) -> str:
    examples = fields[key].examples if key in fields else None
    return f"is missing; add `{key}: {examples[0]}`" if examples else f"is missing; add `{key}:`"


def _fields(model: type[BaseModel], where: KeyPath) -> dict[str, FieldInfo]:
    """The keys that the section at a path can have, as written in the file."""
    models: set[type[BaseModel]] = {model}
    for part in where:
        found: set[type[BaseModel]] = set()
        for section in models:
            for name, info in section.model_fields.items():
                if part == (info.alias or name):
                    found.update(_models_in(info.annotation))
        models = found or models  # an index or a mapping's key does not change the model
    return {
        info.alias or name: info
        for section in models
        for name, info in section.model_fields.items()
    }


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
