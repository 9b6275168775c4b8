"""Put a bundle on disk as a whole: the old one stays until the new one is complete. And read one back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from restante.errors import InputError
from restante.render.bundle import Bundle
from restante.render.manifest import digest


def write(bundle: Bundle, directory: Path) -> None:
    """Replace `directory`. Raises InputError when it holds something that no render wrote, or cannot be written."""
    _must_be_ours(directory)
    beside = directory.parent / f".{directory.name}.{os.getpid()}"
    try:
        _fill(bundle, beside)
        if directory.exists():
            old = beside.with_name(f"{beside.name}.old")
            directory.rename(old)
            beside.rename(directory)
            shutil.rmtree(old)
        else:
            beside.rename(directory)
    except OSError as error:
        shutil.rmtree(beside, ignore_errors=True)
        raise InputError(
            f"{directory}: the bundle could not be written ({error.strerror}); what was there before is unchanged"
        ) from None


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
    if any(directory.iterdir()) and not (directory / "manifest.json").is_file():
        raise InputError(
            f"{directory} holds something else; give --out a new folder, or one that an earlier render wrote"
        )


def changed_by_hand(directory: Path) -> list[str]:
    """Files of a bundle that are not as rendered: changed, missing or added. Raises InputError when it is none."""
    try:
        expected: dict[str, str] = json.loads((directory / "manifest.json").read_bytes())["files"]
    except (OSError, ValueError, KeyError):
        raise InputError(
            f"{directory} is no bundle (its manifest.json is missing or broken); 'restante render' writes one"
        ) from None
    found = {
        str(path.relative_to(directory)): digest(path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    found.pop("manifest.json", None)
    return sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))


def read(directory: Path) -> Bundle:
    """The bundle that `directory` holds, as it is now."""
    changed_by_hand(directory)
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
