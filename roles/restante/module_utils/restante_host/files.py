"""Files of the live tree: read, compared, put in place, taken away. Nothing is ever written through a link.

A file is put in place by write-beside, fsync, rename, fsync of the folder, so that a reader, and a machine that loses
power, sees the old bytes or the new ones and nothing between (as in chasquid's internal/safeio).
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import RefusedError
from .manifest import Item
from .system import Host

BESIDE = ".restante-new"


@dataclass(frozen=True)
class Live:
    """A plain file as it is on the host."""

    data: bytes
    mode: int
    owner: str
    group: str

    def equals(self, item: Item) -> bool:
        ours = (item.mode, item.owner, item.group)
        return (self.mode, self.owner, self.group) == ours and hashlib.sha256(self.data).hexdigest() == item.sha256


def live(host: Host, path: str) -> Live | None:
    """The file at `path`, or None where there is none. Anything but a plain file in real folders is refused."""
    for folder in reversed(Path(path).parents[:-1]):
        found = _lstat(host.path(str(folder)))
        if found is None:
            return None
        if not stat.S_ISDIR(found.st_mode):
            raise RefusedError(
                f"{path}: {folder} is {_kind(found)} on this host; only files in real folders are written"
            )
    found = _lstat(host.path(path))
    if found is None:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError(f"{path} is {_kind(found)} on this host; it is not replaced; remove it first")
    data = host.path(path).read_bytes()
    return Live(data, stat.S_IMODE(found.st_mode), _user(found.st_uid), _group(found.st_gid))


def write_beside(host: Host, item: Item, data: bytes, *, durable: bool = True) -> Path:
    """Everything but the rename: bytes, owner, mode, on the disk. A full disk shows here, before anything changed."""
    target = host.path(item.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}{BESIDE}")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchown(stream.fileno(), *ids(item))
            os.fchmod(stream.fileno(), item.mode)
            if durable:
                os.fsync(stream.fileno())
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return beside


def swap(beside: Path) -> None:
    target = beside.with_name(beside.name.removeprefix(".").removesuffix(BESIDE))
    beside.rename(target)
    sync(target.parent)


def remove(host: Host, path: str) -> None:
    target = host.path(path)
    target.unlink(missing_ok=True)
    sync(target.parent)


def sync(folder: Path) -> None:
    """A rename or an unlink is on the disk only after its folder is."""
    with contextlib.suppress(FileNotFoundError), _opened(folder) as descriptor:
        os.fsync(descriptor)


def ids(item: Item) -> tuple[int, int]:
    try:
        return pwd.getpwnam(item.owner).pw_uid, grp.getgrnam(item.group).gr_gid
    except KeyError as error:
        raise RefusedError(
            f"{item.path} is to belong to {item.owner}:{item.group}, and this host has no such user or group; "
            "a package or the manifest's users must bring it"
        ) from error


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _kind(found: os.stat_result) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file"}
    return kinds.get(stat.S_IFMT(found.st_mode), "a device, pipe or socket")


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
