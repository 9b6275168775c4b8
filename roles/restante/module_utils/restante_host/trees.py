"""Folders that a release brings as a whole, such as the post office's code. They are never changed, only added and removed.

Each is unpacked beside its place, compiled, synced and renamed: a folder that is there is complete.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from . import files
from .errors import RefusedError
from .manifest import TREES, Manifest
from .system import Host

COMPILE = ("/usr/bin/python3", "-IS", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-j", "0")


def missing(host: Host, release: Manifest) -> tuple[str, ...]:
    return tuple(path for path in release.trees if not host.path(path).is_dir())


def unpack(host: Host, wanted: Iterable[str], archives: Mapping[str, Mapping[str, str]]) -> None:
    """`archives`: folder -> path of the tar on the host, and its sha256."""
    for folder in wanted:
        if folder not in archives:
            raise RefusedError(f"{folder} is not on this host, and the deploy did not bring it; deploy the spec again")
        _unpack(host, folder, Path(archives[folder]["archive"]), archives[folder]["sha256"])


def _unpack(host: Host, folder: str, archive: Path, sha256: str) -> None:
    target = host.path(folder)
    fresh = target.with_name(f".{target.name}.new")
    if hashlib.sha256(archive.read_bytes()).hexdigest() != sha256:
        raise RefusedError(f"the archive of {folder} was changed on its way to the host; deploy again")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        _extract(archive, fresh)
        # Source times mean nothing here; what cannot be compiled (templates of other Pythons) is compiled never.
        host.system.run([*COMPILE, "-s", str(fresh), "-p", str(target), str(fresh)], timeout=300)
        synced = host.system.run(["sync", "--file-system", str(fresh)])
        if synced.code != 0:
            raise RefusedError(f"{folder} could not be put on the disk: {synced.said}")
        fresh.rename(target)
    except (OSError, tarfile.TarError) as error:
        raise RefusedError(f"{folder} could not be unpacked ({error}); nothing was changed") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    files.sync(target.parent)


def _extract(archive: Path, into: Path) -> None:
    """Plain files below `into`, readable by all: whoever runs the code is not root."""
    with tarfile.open(archive, "r:gz") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            source = tar.extractfile(member) if member.isreg() else None
            if source is None or path.is_absolute() or ".." in path.parts:
                raise RefusedError(f"the archive holds {member.name!r}, which is no plain file below its folder")
            target = into / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read())
            target.chmod(0o644)
    for folder in (into, *(path for path in into.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def prune(host: Host, kept: Iterable[Manifest]) -> None:
    """Remove every folder that no kept release names."""
    named = {path for release in kept for path in release.trees}
    root = host.path(TREES)
    for folder in root.iterdir() if root.is_dir() else ():
        if f"{TREES}/{folder.name}" not in named:
            shutil.rmtree(folder)
