"""Put a bundle on disk as a whole: the old one stays until the new one is complete. And read one back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from restante.errors import InputError
from restante.render.bundle import Bundle
from restante.render.manifest import FORMAT, digest


def write(bundle: Bundle, directory: Path) -> None:
    """Replace `directory`. Raises InputError when it holds something that no render wrote, or cannot be written."""
    directory = directory.resolve()
    _must_be_ours(directory)
    beside = directory.parent / f".{directory.name}.{os.getpid()}"
    try:
        _fill(bundle, beside)
        _swap(beside, directory)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise InputError(
            f"{directory}: the bundle could not be written ({error.strerror}); what was there before is unchanged"
        ) from None


def _swap(beside: Path, directory: Path) -> None:
    if not directory.exists():
        beside.rename(directory)
        return
    old = beside.with_name(f"{beside.name}.old")
    directory.rename(old)
    try:
        beside.rename(directory)
    except OSError:
        old.rename(directory)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _fill(bundle: Bundle, directory: Path) -> None:
    directory.mkdir(parents=True)
    made: set[str] = set()
    for path, content in bundle.items():
        parent = path.rpartition("/")[0]
        if parent not in made:
            (directory / parent).mkdir(parents=True, exist_ok=True)
            made.add(parent)
        with open(f"{directory}/{path}", "wb", buffering=0) as file:  # noqa: PTH123 - 16,000 files: Path costs a third
            file.write(content)


def _must_be_ours(directory: Path) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InputError(f"{directory} is a file; give --out a new folder, or one that an earlier render wrote")
    if not any(directory.iterdir()):
        return
    rendered = {path.partition("/")[0] for path in _manifest(directory)} | {"manifest.json"}
    if others := sorted({path.name for path in directory.iterdir()} - rendered):
        raise InputError(
            f"{directory} holds something else ({', '.join(others[:5])}), which a render would delete; give --out a new "
            "folder, or one that an earlier render wrote and nobody added to"
        )


def changed_by_hand(directory: Path) -> list[str]:
    """Files of a bundle that are not as rendered: changed, missing or added. Raises InputError when it is none."""
    expected = _manifest(directory)
    found = {
        str(path.relative_to(directory)): digest(path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found.pop("manifest.json", None)
    return sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))


def _manifest(directory: Path) -> dict[str, str]:
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
        if manifest["format"] == FORMAT and isinstance(manifest["files"], dict):
            return manifest["files"]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f"{directory} is no bundle, it holds something else (manifest.json is missing, or not ours); 'restante render' "
        "writes one into a new folder"
    )


def read(directory: Path) -> Bundle:
    """The bundle that `directory` holds, as it is now. Raises InputError when it is none."""
    _manifest(directory)
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
