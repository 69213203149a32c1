"""`python -m jharnet_monitor.help.generate`: write the generated pages into this package."""

from pathlib import Path

from jharnet_monitor.help.generate import GENERATED

FOLDER = Path(__file__).parents[1]

for name, make in GENERATED.items():
    FOLDER.joinpath(f"{name}.md").write_text(make(), encoding="utf-8")
