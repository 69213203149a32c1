"""Loads a command's module only when that command runs.

Loading all of them takes over a second and 150 MB, mostly for WebRTC, which reports and scripts do
not need.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from jharnet_monitor.errors import UserError


def _library_missing(command: str, error: ModuleNotFoundError) -> Exception:
    """A line that says which extra to install; an error in our own modules stays as it is."""
    library = (error.name or "").split(".")[0]
    if library in ("", "jharnet_monitor"):
        return error
    return UserError(
        f"`{command}` needs {library}, which an agent's installation leaves out: "
        "pip install 'jharnet-monitor[hub]'"
    )


class LazyGroup(TyperGroup):
    """A group whose commands are listed in `lazy` as `name: module:attribute`."""

    lazy: ClassVar[Mapping[str, str]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, beginning with the commands that are already loaded."""
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, loaded now; None if there is none."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[cmd_name].partition(":")
        try:
            found = getattr(import_module(f"jharnet_monitor.commands.{module}"), attribute)
        except ModuleNotFoundError as error:
            raise _library_missing(cmd_name, error) from error
        command: Any
        if isinstance(found, typer.Typer):
            command = typer.main.get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name)(found)
            command = typer.main.get_command(alone)
        command.name = cmd_name
        return command
