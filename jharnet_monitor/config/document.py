"""Reads a YAML file as plain data, with the line of every value.

PyYAML composes the nodes, and its SafeLoader constructs the scalars. Mappings and lists are built
here: SafeLoader silently takes the last of duplicate keys, builds an aliased node only once (so it
cannot count the values that aliases expand to) and gives no key path in its errors. A subclass of
SafeLoader that does all of this would not be shorter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from jharnet_monitor.config.fields import has_surrogates
from jharnet_monitor.errors import UserError, as_one_line

KeyPath = tuple[str | int, ...]

MAX_BYTES = 8_000_000
MAX_VALUES = 300_000
"""Values after aliases are expanded; 4000 offices with every key have about 60 000."""
MAX_DEPTH = 30

_MAP = "tag:yaml.org,2002:map"
_LIST = "tag:yaml.org,2002:seq"
_MERGE = "tag:yaml.org,2002:merge"


@dataclass(frozen=True, slots=True)
class Document:
    """The plain data of a file, and the line (from 1) on which each key path begins."""

    path: Path
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    written: dict[KeyPath, str] = field(default_factory=dict)
    """How values that are no text are written in the file, such as `no`, `010` and `2026-11-25`."""

    def line(self, where: KeyPath) -> int:
        """The line of a key path, or of the nearest enclosing section that the file has."""
        while where and where not in self.lines:
            where = where[:-1]
        return self.lines.get(where, 1)

    def error(self, where: KeyPath, message: str) -> UserError:
        """`config/jharnet.yaml:14: probes.latency.every: must be ...`."""
        return _error(self.path, self.line(where), where, message)


def format_path(where: KeyPath) -> str:
    """Format a key path for messages.

    >>> format_path(("offices", 3, "link", "contracted"))
    'offices[3].link.contracted'
    """
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(path: Path) -> Document:
    """Read a file with one YAML document; raises `UserError` for anything else."""
    text = _read_text(path)
    loader = yaml.SafeLoader(text)
    try:
        node = _compose(path, loader)
        reader = _Reader(path, loader)
        data = reader.value(node, (), 0)
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(path, text, error) from error
    except RecursionError as error:
        raise UserError(
            f"{path}: is nested too deep; at most {MAX_DEPTH} levels are allowed"
        ) from error
    finally:
        loader.dispose()
    return Document(path, data, reader.lines, reader.written)


def _compose(path: Path, loader: yaml.SafeLoader) -> yaml.Node:
    try:
        node = loader.get_single_node()
    except (ValueError, OverflowError) as error:  # the scanner converts what it has not checked
        raise UserError(
            f"{path}:{loader.line + 1}: is not valid YAML: the number of an escape such as \\U or "
            "of `%YAML` is too large; write the character itself"
        ) from error
    if node is None:
        raise UserError(f"{path}: is empty; it must contain settings in YAML")
    return node


class _Reader:
    """Converts nodes to plain values and records their lines."""

    def __init__(self, path: Path, loader: yaml.SafeLoader) -> None:
        self.path = path
        self.loader = loader
        self.lines: dict[KeyPath, int] = {}
        self.written: dict[KeyPath, str] = {}
        self.count = 0

    def value(self, node: yaml.Node, where: KeyPath, depth: int) -> Any:
        self.lines.setdefault(where, node.start_mark.line + 1)
        self.count += 1
        if self.count > MAX_VALUES:
            raise self.fail(node, where, f"expands to over {MAX_VALUES} values; use fewer aliases")
        if depth > MAX_DEPTH:
            raise self.fail(
                node, where, f"is nested too deep; at most {MAX_DEPTH} levels are allowed"
            )
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            return self.mapping(node, where, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            return [self.value(n, (*where, i), depth + 1) for i, n in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            value = self.scalar(node, where)
            if not isinstance(value, str):
                self.written[where] = node.value
            return value
        raise self.fail(node, where, f"the tag `{node.tag}` is not allowed; leave it out")

    def mapping(self, node: yaml.MappingNode, where: KeyPath, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                merged |= self.merged(value_node, where, depth)
                continue
            key = self.key(key_node, where)
            if key in own:
                first = self.lines[(*where, key)]
                message = f"is listed twice (first on line {first}); keep one"
                raise self.fail(key_node, (*where, key), message)
            self.lines[(*where, key)] = key_node.start_mark.line + 1
            own[key] = self.value(value_node, (*where, key), depth + 1)
        return merged | own

    def merged(self, node: yaml.Node, where: KeyPath, depth: int) -> dict[str, Any]:
        """The keys that `<<: *anchor` adds; the mapping's own keys override them."""
        value = self.value(node, (*where, "<<"), depth + 1)
        if not isinstance(value, dict):
            raise self.fail(node, (*where, "<<"), "must be a mapping, such as `<<: *defaults`")
        for key in value:
            self.lines.setdefault((*where, key), node.start_mark.line + 1)
            if (*where, "<<", key) in self.written:
                self.written.setdefault((*where, key), self.written[*where, "<<", key])
        return value

    def key(self, node: yaml.Node, where: KeyPath) -> str:
        key = self.scalar(node, where) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            written = node.value if isinstance(node, yaml.ScalarNode) else "[...]"
            raise self.fail(node, where, f'a key must be text: write "{written}": in quotes')
        return key

    def scalar(self, node: yaml.ScalarNode, where: KeyPath) -> Any:
        try:
            value = self.loader.construct_object(node)
        except (ValueError, OverflowError) as error:
            message = f"`{node.value[:40]}` cannot be read ({error}); write text in quotes"
            raise self.fail(node, where, message) from error
        except (LookupError, AttributeError) as error:  # a tag before what PyYAML does not check
            kind = node.tag.rpartition(":")[2]
            message = f"`{node.value[:40]}` is not a value of `!!{kind}`; leave the tag out"
            raise self.fail(node, where, message) from error
        if isinstance(value, str) and has_surrogates(value):
            message = "has half a character, such as \\ud800 alone; write the character itself"
            raise self.fail(node, where, message)
        return value

    def fail(self, node: yaml.Node, where: KeyPath, message: str) -> UserError:
        return _error(self.path, node.start_mark.line + 1, where, message)


def _error(path: Path, line: int, where: KeyPath, message: str) -> UserError:
    place = f"{format_path(where)}: " if where else ""
    return UserError(as_one_line(f"{path}:{line}: {place}{message}"))


def _read_text(path: Path) -> str:
    """The file as text; raises `UserError` for what is not UTF-8 or not printable."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise UserError(f"{path}: there is no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a directory; name the YAML file in it") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise UserError(
            f"{path}: is larger than {MAX_BYTES // 1_000_000} MB; is this the right file?"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from error
    for number, line_text in enumerate(text.split("\n"), start=1):
        if yaml.reader.Reader.NON_PRINTABLE.search(line_text):
            raise UserError(f"{path}:{number}: contains an unprintable character; remove it")
    return text


def _syntax_error(path: Path, text: str, error: yaml.MarkedYAMLError) -> UserError:
    mark = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else 1
    lines = text.split("\n")
    written = lines[number - 1] if number <= len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        return UserError(f"{path}:{number}: is indented with a tab; use spaces")
    problem = " ".join(part for part in (error.context, error.problem) if part)
    return UserError(
        f"{path}:{number}: is not valid YAML: {problem}; check indentation, quotes and brackets"
    )
