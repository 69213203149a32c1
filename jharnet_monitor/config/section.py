"""The base class of every section of a configuration file."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue


class Section(BaseModel):
    """A section of a configuration file: refuses unknown keys, cannot be changed once read."""

    # The whole is built when a file is read; else each section would be, at every start.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The schema with the docstring below each key as its description. To read the docstrings
        takes as long as all other work on the classes, and only the schema needs them.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        docstrings = cls.docstrings()
        for name, info in cls.model_fields.items():
            key = info.alias or name
            if name in docstrings and key in properties:
                properties[key].setdefault("description", docstrings[name])
        return schema

    @classmethod
    def docstrings(cls) -> dict[str, str]:
        """The docstring below each key that has one, by the field's name."""
        import ast  # noqa: PLC0415 - only for schema and help
        import inspect  # noqa: PLC0415
        import textwrap  # noqa: PLC0415

        found: dict[str, str] = {}
        for base in reversed(cls.__mro__):
            if not issubclass(base, Section) or base is Section:
                continue
            [definition] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            body = definition.body if isinstance(definition, ast.ClassDef) else []
            for field, below in pairwise(body):
                match field, below:
                    case (
                        ast.AnnAssign(target=ast.Name(id=name)),
                        ast.Expr(value=ast.Constant(value=str(text))),
                    ):
                        found[name] = inspect.cleandoc(text)
        return found
