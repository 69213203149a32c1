"""The owner of database and dossier changes them; the verifiers find it. A sample of each kind."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import forgery_database, forgery_dossier
from tests.dossier_support import Forger, filed
from tests.forgery_database import Forging, copied, sealed_database
from tests.forgery_dossier import Level, caught, levels

DELETIONS = 24
SAMPLE = (*forgery_dossier.KINDS[:DELETIONS], *forgery_dossier.KINDS[DELETIONS::2])
WHOLE = ("bad calls removed and called pruned", "the sealed settings removed")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A true database, and its root."""
    file = tmp_path_factory.mktemp("sealed") / "true.db"
    return file, sealed_database(file)


@pytest.fixture(scope="module")
def true(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forger]:
    """A true dossier."""
    directory = tmp_path_factory.mktemp("filed")
    place = filed(directory, 2, 15, more=forgery_dossier.traffic(15))
    place.build(directory / "true.zip")
    yield Forger.of(directory / "true.zip")
    place.store.close()


def test_a_true_database_verifies(database: tuple[Path, str], tmp_path: Path) -> None:
    """With old hours pruned, with its root, and after the forger's own tools did nothing."""
    file, root = database
    at = copied(file, tmp_path / "copy.db", random.Random(1))
    assert at.problems(root) == []
    at.sql("delete from chunks where number > ?", forgery_database.OLD_HOURS + 5)
    at.rebuild()
    assert at.problems(root) == []


@pytest.mark.parametrize("kind", forgery_database.KINDS, ids=lambda kind: kind.name)
def test_a_forged_database_is_found(
    database: tuple[Path, str], tmp_path: Path, kind: forgery_database.Kind
) -> None:
    """Without a root while the chain is kept, with it once the chain was rebuilt."""
    file, root = database
    at = copied(file, tmp_path / "forged.db", random.Random(3))
    kind.forge(at)
    assert bool(at.problems(None)) is not bool(kind.alone)
    assert at.problems(root)
    if kind.rebuilds:
        _only_by_the_root(at, root)


def _only_by_the_root(at: Forging, root: str) -> None:
    at.rebuild()
    assert at.problems(None) == []
    assert at.problems(root) == [f"the root {root} is not in the chain"]


@pytest.mark.parametrize("kind", SAMPLE, ids=lambda kind: kind.name)
def test_a_forged_dossier_is_found(
    true: Forger, tmp_path: Path, kind: forgery_dossier.Kind
) -> None:
    """Without a root, unless chain, claims and papers were all made again."""
    root = true.links()[-1].root
    file = tmp_path / "forged.zip"
    assert caught(kind, Level.KEPT, true, random.Random(3), file, root) == (True, True)
    if kind.name == "a threshold changed":
        assert caught(kind, Level.RESTATED, true, random.Random(3), file, root) == (True, True)
    if kind.name in WHOLE:
        assert Level.WHOLE in levels(kind)
        assert caught(kind, Level.REBUILT, true, random.Random(3), file, root) == (True, True)
        assert caught(kind, Level.WHOLE, true, random.Random(3), file, root) == (True, False)
