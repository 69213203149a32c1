"""The configuration: one YAML file, read strictly.

The schema is loaded when it is used: an agent, which has no such file, saves its 8 MB.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jharnet_monitor.config.schema import Config, Office

__all__ = ["Config", "Office"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jharnet_monitor.config import schema  # noqa: PLC0415 - see above

    return getattr(schema, name)
