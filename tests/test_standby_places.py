"""Where a restore writes: not where a backup says, but where a person allows."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from jharnet_monitor.clock import SystemClock
from jharnet_monitor.commands.standby import app
from jharnet_monitor.config.load import load_config
from jharnet_monitor.disk_queue import DiskQueue
from jharnet_monitor.errors import UserError
from jharnet_monitor.standby.manifest import MANIFEST, sha256_of
from jharnet_monitor.standby.restore import Restore, usual_target
from jharnet_monitor.standby.save import save
from jharnet_monitor.store import Store
from tests.standby_support import hub_in


def rewrite(backup: Path, name: str, text: str, **manifest: Any) -> None:
    """Change a file of a backup, or plant one, and the manifest with it, as its holder can."""
    file = backup / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    data = json.loads((backup / MANIFEST).read_text("utf-8")) | manifest
    data["files"][name] = {"sha256": sha256_of(file), "size": file.stat().st_size, "mode": 0o4755}
    (backup / MANIFEST).write_text(json.dumps(data), "utf-8")


def with_database(backup: Path, database: str) -> None:
    """Change the database's place in a backup's configuration."""
    config = yaml.safe_load((backup / "config/jharnet.yaml").read_text("utf-8"))
    config["hub"]["database"] = database
    rewrite(backup, "config/jharnet.yaml", yaml.safe_dump(config))


@pytest.mark.parametrize("place", ["hub/data", "elsewhere"])
def test_a_database_with_an_absolute_path(place: str, tmp_path: Path) -> None:
    """It is restored to its place, inside of the hub's directory or not; an earlier one is set
    aside with its log, which SQLite would apply to the restored one, and only with --replace."""
    database = tmp_path / place / "monitor.db"
    backup = save(hub_in(tmp_path / "hub", f"sqlite:///{database}"), tmp_path / "away", 3)
    for end in ("-wal", "-shm"):
        database.with_name(f"monitor.db{end}").write_bytes(b"old")
    hub, allowed = tmp_path / "hub", tmp_path / "elsewhere"
    if place == "elsewhere":
        shutil.rmtree(hub)
        before = database.read_bytes()
        with pytest.raises(UserError, match=r"monitor.db.*: exists already; --replace"):
            Restore(backup, hub, database_in=allowed).run()
        assert database.read_bytes() == before
    Restore(backup, hub, database_in=allowed, replace=True).run()
    present = sorted(one.name for one in database.parent.iterdir())
    assert not [one for one in present if "restoring" in one]
    assert {"monitor.db-wal", "monitor.db-shm"}.isdisjoint(present)
    config = load_config(tmp_path / "hub/jharnet.yaml")
    queue = DiskQueue(config.waiting_file, 100)
    assert queue.peek(9) == [("beat", "{}")]
    queue.close()
    [log] = [one for one in tmp_path.rglob("monitor.db*-wal") if one.read_bytes() == b"old"]
    assert "before-restore-" in str(log)
    store = Store(config.hub.database, SystemClock())
    assert len(store.measurements()) == 40
    store.close()


def test_a_changed_backup_puts_nothing_elsewhere(tmp_path: Path) -> None:
    """A file from outside of the directory is put into it, wherever it is said to have been."""
    backup = save(hub_in(tmp_path / "hub"), tmp_path / "away", 3)
    goal = tmp_path / "cron.d/x"
    planted = backup / "elsewhere" / goal.relative_to("/")
    planted.parent.mkdir(parents=True)
    planted.write_text("* * * * * root id", "utf-8")
    manifest = json.loads((backup / MANIFEST).read_text("utf-8"))
    held = {"sha256": sha256_of(planted), "size": planted.stat().st_size, "mode": 0o4755}
    manifest["files"][str(planted.relative_to(backup))] = held
    (backup / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    Restore(backup, tmp_path / "new").run()
    assert not goal.parent.exists()
    restored = tmp_path / "new" / planted.relative_to(backup)
    assert restored.stat().st_mode & 0o7777 == 0o755


def test_a_backup_with_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """Also where the link is a folder on the way."""
    backup = save(hub_in(tmp_path / "hub"), tmp_path / "away", 3)
    (backup / "config/secrets").rename(tmp_path / "secrets")
    (backup / "config/secrets").symlink_to(tmp_path / "secrets")
    with pytest.raises(UserError, match=r"config/secrets/.*: is a symbolic link"):
        Restore(backup, tmp_path / "new").run()
    assert not (tmp_path / "new").exists()


def outside_file(tmp_path: Path) -> tuple[Path, Path]:
    """A hub whose certificate lies outside of its directory; its file, and the certificate."""
    file = hub_in(tmp_path / "hub")
    certificate = tmp_path / "pki/hub.pem"
    certificate.parent.mkdir()
    (tmp_path / "hub/tls/hub.pem").rename(certificate)
    data = yaml.safe_load(file.read_text("utf-8"))
    data["hub"]["tls"]["certificate"] = str(certificate)
    file.write_text(yaml.safe_dump(data), "utf-8")
    return file, certificate


def test_what_lay_outside_is_listed(tmp_path: Path) -> None:
    """With its original path, whether this machine lacks it, and what to do; also as JSON."""
    file, certificate = outside_file(tmp_path)
    backup = save(file, tmp_path / "away", 3)
    rewrite(backup, "elsewhere/x\x1b[2J[red]", "")
    certificate.unlink()
    target = tmp_path / "new"
    done = CliRunner().invoke(app, ["restore", str(backup), "--into", str(target)])
    assert done.exit_code == 0, done.output
    moved = target / "elsewhere" / certificate.relative_to("/")
    assert f"  {certificate} (is missing on this machine): {moved}\n" in done.output
    assert "copy it by `cp -p`" in done.output
    assert "\x1b" not in done.output
    assert "[red]" in done.output
    shutil.copy2(moved, certificate)
    load_config(target / "jharnet.yaml")
    result = CliRunner().invoke(
        app, ["restore", str(backup), "--into", str(target), "--replace", "--json"]
    )
    data = json.loads(result.output)
    listed = {one["original"]: one for one in data["elsewhere"]}
    assert listed[str(certificate)] == {
        "original": str(certificate), "file": str(moved), "exists": True,
    }  # fmt: skip
    assert ["before-restore-" in one for one in data["notices"]] == [True]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("there", [True, False])
def test_root_gives_all_to_the_hubs_user(there: bool, tmp_path: Path) -> None:
    """To the owner of the directory, or else to the user that the manifest names, including what
    was outside. A notice says so if this machine has no such user."""
    user = pwd.getpwnam("nobody")
    backup = save(outside_file(tmp_path)[0], tmp_path / "away", 3)
    rewrite(backup, "config/note", "", owner="daemon" if there else "nobody")
    target = tmp_path / "new"
    if there:
        target.mkdir()
        os.chown(target, user.pw_uid, user.pw_gid)
    assert Restore(backup, target).run().notices == ()
    restored = [target, *target.rglob("*")]
    assert any(one.name == "hub.pem" and "elsewhere" in one.parts for one in restored)
    assert {(one.stat().st_uid, one.stat().st_gid) for one in restored} == {
        (user.pw_uid, user.pw_gid)
    }
    rewrite(backup, "config/note", "", owner="no-such-user")
    [notice] = Restore(backup, tmp_path / "other").run().notices
    assert "no user no-such-user" in notice


def test_a_backup_does_not_choose_the_target(tmp_path: Path) -> None:
    """Without --into, only this machine's own directory is written."""
    file = hub_in(tmp_path / "hub")
    backup = save(file, tmp_path / "away", 3)
    assert usual_target(backup, file) == tmp_path / "hub"
    rewrite(backup, "config/x", "", directory=str(tmp_path / "cron.d"))
    shutil.rmtree(tmp_path / "hub")
    done = CliRunner().invoke(app, ["restore", str(backup), "-c", str(file)])
    assert isinstance(done.exception, UserError)
    assert str(tmp_path / "cron.d") in str(done.exception)
    assert "by --into" in str(done.exception)
    assert not (tmp_path / "cron.d").exists()
    assert not (tmp_path / "hub").exists()


@pytest.mark.parametrize("database", ["sqlite:////{}/cron.d/x", "sqlite:///../cron.d/x"])
def test_a_backup_does_not_choose_where_its_database_lies(database: str, tmp_path: Path) -> None:
    """A path that leaves the target is refused in one line, unless a person allowed it."""
    backup = save(hub_in(tmp_path / "hub"), tmp_path / "away", 3)
    with_database(backup, database.format(str(tmp_path).lstrip("/")))
    with pytest.raises(UserError, match=r"outside of .*cron.d.* --database-in") as raised:
        Restore(backup, tmp_path / "new").run()
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "cron.d").exists()
    assert not list((tmp_path / "new").iterdir())


def test_a_link_leads_no_database_out_of_what_is_allowed(tmp_path: Path) -> None:
    """The directory that a person allows is compared after links."""
    backup = save(hub_in(tmp_path / "hub"), tmp_path / "away", 3)
    for name in ("allowed", "cron.d"):
        (tmp_path / name).mkdir()
    (tmp_path / "allowed/link").symlink_to(tmp_path / "cron.d")
    with_database(backup, f"sqlite:///{tmp_path}/allowed/link/x")
    with pytest.raises(UserError, match="outside of"):
        Restore(backup, tmp_path / "new", database_in=tmp_path / "allowed").run()
    assert not list((tmp_path / "cron.d").iterdir())


def test_the_database_is_of_the_kind_that_was_saved(tmp_path: Path) -> None:
    """Else the name of a PostgreSQL database would be taken as the path of a file."""
    backup = save(hub_in(tmp_path / "hub"), tmp_path / "away", 3)
    with_database(backup, "postgresql:///monitor")
    with pytest.raises(UserError, match="is not the sqlite database"):
        Restore(backup, tmp_path / "new").run()
