"""`python -m jharnet_monitor.help.generate`: write the generated pages into this package, and the
README's table of probes."""

from pathlib import Path

from jharnet_monitor.help.generate import GENERATED
from jharnet_monitor.help.generate.readme import with_probes

FOLDER = Path(__file__).parents[1]

for name, make in GENERATED.items():
    FOLDER.joinpath(f"{name}.md").write_text(make(), encoding="utf-8")

README = FOLDER.parents[1] / "README.md"
if README.is_file():  # not where the package is installed
    README.write_text(with_probes(README.read_text(encoding="utf-8")), encoding="utf-8")
