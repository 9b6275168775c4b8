"""A release on its way to the host: a tar whose members are `tree/<path>`, plain files only.

No more and no fewer than the manifest lists, with the sha256 that it lists. Nothing is extracted by name: the bytes are
read, and checked first.
"""

from __future__ import annotations

import hashlib
import tarfile
from typing import BinaryIO

from .errors import RefusedError
from .manifest import Manifest

PREFIX = "tree"


def read(stream: BinaryIO, manifest: Manifest) -> dict[str, bytes]:
    """Path on the host -> bytes."""
    contents: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                path = _path(member, manifest)
                if path in contents:
                    raise RefusedError(f"the transfer holds {path} twice; it is refused as a whole")
                source = tar.extractfile(member)
                contents[path] = source.read() if source else b""
    except tarfile.TarError as error:
        raise RefusedError(f"the transfer is no readable tar ({error}): run the deploy again") from error
    _check(contents, manifest)
    return contents


def _path(member: tarfile.TarInfo, manifest: Manifest) -> str:
    if not member.isreg():
        kind = "a link" if member.islnk() or member.issym() else "a folder or device"
        raise RefusedError(f"the transfer holds {member.name!r}, {kind}; only plain files are accepted")
    path = member.name.removeprefix(PREFIX)
    if not member.name.startswith(f"{PREFIX}/") or path not in manifest.items:
        raise RefusedError(f"the transfer holds {member.name!r}, which the manifest does not list")
    return path


def _check(contents: dict[str, bytes], manifest: Manifest) -> None:
    for path, item in manifest.items.items():
        if path not in contents:
            raise RefusedError(f"the transfer lacks {path}, which the manifest lists")
        if hashlib.sha256(contents[path]).hexdigest() != item.sha256:
            raise RefusedError(f"{path} arrived with another sha256 than the manifest lists: it was changed on its way")
