"""The post office's code as a release: what it is made of, and that it is the same each time."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from restante import resources
from restante.deploy import wheelhouse
from restante.errors import InputError


def test_the_release_holds_the_runtime_and_nothing_of_the_kit() -> None:
    names = set(wheelhouse.package())
    assert {"restante/__init__.py", "restante/errors.py", "restante/server/__init__.py"} <= names
    parts = {f"restante/{part}" for part in wheelhouse.PARTS}
    assert {name for name in names if not any(name == part or name.startswith(f"{part}/") for part in parts)} == set()
    assert "restante/cli/mailbox/ledger.py" in names
    assert "restante/cli/deploy.py" not in names
    assert not any("__pycache__" in name for name in names)


def test_the_release_lacks_nothing_of_ours(tmp_path: Path) -> None:
    for name, content in wheelhouse.package().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    every = sorted(name.removesuffix(".py").replace("/", ".") for name in wheelhouse.package() if name.endswith(".py"))
    imports = "; ".join(f"import {name.removesuffix('.__init__')}" for name in every)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {imports}; assert restante.__file__.startswith({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_pinned_marker_depends_on_the_python_that_runs_the_deploy() -> None:
    """pip judges markers by its own Python, not by --python-version."""
    assert not re.search(r";.*python(_full)?_version", resources.server_requirements().read_text())


def test_the_same_files_give_the_same_archive() -> None:
    contents = {"b/x.py": b"2", "a.py": b"1"}
    packed = wheelhouse._pack(contents)
    assert packed == wheelhouse._pack(dict(reversed(contents.items())))
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert [(item.name, item.mode, item.uid, item.mtime) for item in tar] == [
            ("a.py", 0o644, 0, 0),
            ("b/x.py", 0o644, 0, 0),
        ]


def test_what_names_this_machine_stays_here(tmp_path: Path) -> None:
    for name in ("bin/uvicorn", "x-1.dist-info/RECORD", "x-1.dist-info/METADATA", "x/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    found = set(wheelhouse._contents(tmp_path)) - set(wheelhouse.package())
    assert found == {"x-1.dist-info/METADATA", "x/__init__.py"}


def bundle(folder: Path, release: str) -> Path:
    (folder / "hosts/solo").mkdir(parents=True)
    trees = {f"/opt/restante/server/{release}": {"component": "post", "python": "3.13"}}
    (folder / "hosts/solo/manifest.json").write_text(json.dumps({"arch": "amd64", "trees": trees}))
    return folder


def test_an_archive_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls: list[str] = []
    monkeypatch.setattr(wheelhouse, "_install", lambda _, python, arch: calls.append(f"{python}-{arch}"))
    made = bundle(tmp_path / "bundle", wheelhouse.release())
    for _ in range(2):
        cache = wheelhouse.prepare(made)
    assert calls == ["3.13-amd64"]
    assert [path.name for path in cache.iterdir()] == [f"{wheelhouse.release()}-3.13-amd64.tar.gz"]


def test_a_bundle_of_another_kit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="another version of the kit"):
        wheelhouse.prepare(bundle(tmp_path / "bundle", "feed"))
