"""Folders that a release brings as a whole: unpacked complete or not at all, kept as long as their release, never changed."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from fake_host import CODE, Machine, nginx
from restante_host import apply, manifest
from restante_host.errors import FailedError, RefusedError
from restante_host.manifest import TREES, Manifest

GOOD = {"restante/__init__.py": b"", "restante/server/__main__.py": b"print(1)\n"}


def release(name: str, tree: str, **more: str) -> Manifest:
    raw = {**nginx(name, **more).raw, "trees": {f"{TREES}/{tree}": {"component": "nginx", "python": "3.13"}}}
    return manifest.parse(raw, {})


def archive(folder: Path, members: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> dict[str, str]:
    path = folder / "tree.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(data), kind
            tar.addfile(member, io.BytesIO(data))
    return {"archive": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def deploy(machine: Machine, name: str, tree: str, folder: Path, text: str = "good") -> apply.Report:
    sent = {f"{TREES}/{tree}": archive(folder, GOOD)}
    contents = nginx(name, text).contents
    return apply.apply(machine.host, release(name, tree, text=text), contents, CODE, sent)


def trees(machine: Machine) -> list[str]:
    root = machine.host.path(TREES)
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def test_a_tree_is_brought_once(machine: Machine, tmp_path: Path) -> None:
    report = deploy(machine, "r1", "aa11", tmp_path)
    assert report.changes.trees == (f"{TREES}/aa11",)
    assert machine.read(f"{TREES}/aa11/restante/server/__main__.py") == "print(1)\n"
    assert not apply.compare(machine.host, release("r1", "aa11")).changes.needed


def test_the_tree_before_stays_for_the_way_back_and_older_ones_go(machine: Machine, tmp_path: Path) -> None:
    for number, tree in enumerate(("aa11", "bb22", "cc33")):
        deploy(machine, f"r{number}", tree, tmp_path, text=f"text {number}")
    assert trees(machine) == ["bb22", "cc33"]
    before, contents = apply.previous(machine.host)
    apply.apply(machine.host, before, contents, CODE)
    assert trees(machine) == ["bb22", "cc33"]
    assert machine.read("/etc/nginx/nginx.conf") == "text 1"


def test_a_release_that_does_not_come_up_leaves_the_tree_before_in_place(machine: Machine, tmp_path: Path) -> None:
    deploy(machine, "r1", "aa11", tmp_path)
    machine.system.broken.add("nginx.service")
    with pytest.raises(FailedError):
        deploy(machine, "r2", "bb22", tmp_path, text="other")
    assert "aa11" in trees(machine)


def test_a_tree_removed_by_hand_is_brought_again_and_its_component_restarted(machine: Machine, tmp_path: Path) -> None:
    deploy(machine, "r1", "aa11", tmp_path)
    machine.host.path(f"{TREES}/aa11").rename(tmp_path / "gone")
    found = apply.compare(machine.host, release("r1", "aa11")).changes
    assert found.trees == (f"{TREES}/aa11",)
    assert found.touched == {"nginx": f"{TREES}/aa11 is missing"}


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil"])
def test_nothing_is_written_outside_its_folder(machine: Machine, tmp_path: Path, name: str) -> None:
    sent = {f"{TREES}/aa11": archive(tmp_path, {**GOOD, name: b"x"})}
    with pytest.raises(RefusedError, match="no plain file below its folder"):
        apply.apply(machine.host, release("r1", "aa11"), nginx("r1").contents, CODE, sent)
    assert trees(machine) == []
    assert not machine.has("/etc/nginx/nginx.conf")


def test_links_and_a_changed_archive_are_refused(machine: Machine, tmp_path: Path) -> None:
    sent = {f"{TREES}/aa11": archive(tmp_path, {"link": b""}, tarfile.SYMTYPE)}
    with pytest.raises(RefusedError, match="no plain file"):
        apply.apply(machine.host, release("r1", "aa11"), nginx("r1").contents, CODE, sent)
    sent = {f"{TREES}/aa11": {**archive(tmp_path, GOOD), "sha256": "0"}}
    with pytest.raises(RefusedError, match="changed on its way"):
        apply.apply(machine.host, release("r1", "aa11"), nginx("r1").contents, CODE, sent)
    with pytest.raises(RefusedError, match="did not bring it"):
        apply.apply(machine.host, release("r1", "aa11"), nginx("r1").contents, CODE)


def test_a_release_may_bring_folders_only_where_trees_live() -> None:
    raw = {**nginx("r1").raw, "trees": {"/etc": {"component": "nginx", "python": "3.13"}}}
    with pytest.raises(RefusedError, match="no folder that a release may bring"):
        manifest.parse(raw, {})
