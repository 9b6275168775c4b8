"""What the host keeps in /var/lib/restante.

Layout:
releases/<identity>/{manifest.json,tree/<path>}   whole, with its secrets, for root alone
current, previous     -> releases/<identity>    what serves, and what a rollback goes back to
pending               -> releases/<identity>    being applied; still there after a power cut, or until confirmed
releases/<identity>/begun.json    the release is not finished: its files may be on the host
originals/<path>      a file that was on the host before us, put back when its path leaves the manifest
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from . import files, manifest, trees
from .errors import RefusedError
from .manifest import STATE, Item, Manifest
from .system import Host

LINKS = ("current", "previous", "pending")
BEGUN = "begun.json"


class Store:
    """The releases of one host."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.base = host.path(STATE)
        self.releases = self.base / "releases"
        self.kept = Host(self.base / "originals", host.system)

    @contextlib.contextmanager
    def locked(self, *, wait_s: float = 0) -> Iterator[None]:
        """Two deploys at once would each undo the other's files. `wait_s`: for what ends a deploy, and should not fail."""
        self.base.mkdir(parents=True, exist_ok=True)
        for private in (self.releases, self.kept.root):
            private.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.base / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Whoever can open it can hold it: nobody but root.
            os.fchmod(lock, 0o600)
            self._acquire(lock, self.host.system.now() + wait_s)
            yield
        finally:
            os.close(lock)

    def _acquire(self, lock: int, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if self.host.system.now() >= deadline:
                    raise RefusedError(
                        "another deploy is at work on this host: wait for it to end, then try again"
                    ) from error
                self.host.system.pause(0.2)
            else:
                return

    def linked(self, link: str) -> Manifest | None:
        """The manifest behind `current`, `previous` or `pending`."""
        try:
            return manifest.parse(json.loads((self.base / link / "manifest.json").read_text()))
        except FileNotFoundError:
            return None
        except json.JSONDecodeError as error:
            raise RefusedError(
                f"{STATE}/{link}/manifest.json cannot be read ({error}); remove {STATE}/{link}"
            ) from error

    @property
    def serving(self) -> str | None:
        """The identity of the release that serves."""
        return self._identity("current")

    def known(self) -> list[Manifest]:
        """Releases whose files may be on the host: the one that serves, and all that were begun and not finished."""
        names = [self._identity("current"), *sorted(begun.parent.name for begun in self.releases.glob(f"*/{BEGUN}"))]
        return [found for name in dict.fromkeys(names) if name and (found := self.linked(f"releases/{name}"))]

    def stage(self, release: Manifest, contents: Mapping[str, bytes]) -> None:
        """Write the whole release beside the others, or nothing."""
        with contextlib.suppress(FileNotFoundError, KeyError):
            if self.contents(release) == contents:
                return
        target = self.releases / release.identity
        fresh = target.with_name(f"{target.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        try:
            for path, data in contents.items():
                _write(fresh / "tree" / path.lstrip("/"), data)
            _write(fresh / "manifest.json", json.dumps(release.as_json(), indent=1, sort_keys=True).encode())
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
        except OSError as error:
            shutil.rmtree(fresh, ignore_errors=True)
            raise RefusedError(f"the release could not be staged in {STATE} ({error}); nothing was changed") from error
        files.sync(self.releases)

    def contents(self, release: Manifest) -> dict[str, bytes]:
        tree = self.releases / release.identity / "tree"
        return {path: (tree / path.lstrip("/")).read_bytes() for path in release.items}

    def begin(self, release: Manifest, active: Iterable[str]) -> None:
        """From here on a power cut leaves the release unfinished. `active`: units that run now, for the way back."""
        _write(self.releases / release.identity / BEGUN, json.dumps(sorted(active)).encode())
        self._link("pending", release.identity)

    def active_before(self) -> frozenset[str]:
        """The units that ran when the pending release began."""
        try:
            return frozenset(json.loads((self.base / "pending" / BEGUN).read_text()))
        except (FileNotFoundError, ValueError):
            return frozenset()  # a power cut while it was written: units that leave are then stopped

    def commit(self) -> None:
        """The pending release serves."""
        pending, current = self._identity("pending"), self._identity("current")
        if pending is None:
            raise RefusedError("no release waits to be confirmed on this host")
        if current is not None and current != pending:
            self._link("previous", current)
        self._link("current", pending)
        self.finish()

    def finish(self) -> None:
        """Nothing of an unfinished release is left in the live tree."""
        (self.base / "pending").unlink(missing_ok=True)
        for begun in self.releases.glob(f"*/{BEGUN}"):
            begun.unlink()
        self.sweep()

    def sweep(self) -> None:
        """Remove every release that no link names and that is not unfinished."""
        named = {self._identity(link) for link in LINKS}
        for folder in self.releases.iterdir():
            if folder.name not in named and not (folder / BEGUN).exists():
                shutil.rmtree(folder)
        trees.prune(self.host, [kept for folder in self.releases.iterdir() if (kept := self._kept(folder.name))])
        files.sync(self.base)

    def _kept(self, identity: str) -> Manifest | None:
        return self.linked(f"releases/{identity}")

    def keep_original(self, path: str) -> None:
        """Keep what is at `path`, which no release of ours put there."""
        found = files.live(self.host, path)
        if found is not None:
            item = Item(path, "", "", found.mode, found.owner, found.group)
            files.swap(files.write_beside(self.kept, item, found.data))

    def give_back(self, path: str) -> None:
        """Take our file away, and put the original back where there was one."""
        found = files.live(self.kept, path)
        if found is None:
            files.remove(self.host, path)
            return
        item = Item(path, "", "", found.mode, found.owner, found.group)
        files.swap(files.write_beside(self.host, item, found.data))
        files.remove(self.kept, path)

    def _identity(self, link: str) -> str | None:
        try:
            return (self.base / link).readlink().name
        except FileNotFoundError:
            return None

    def _link(self, link: str, identity: str) -> None:
        fresh = self.base / f"{link}.new"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("releases") / identity)
        fresh.rename(self.base / link)
        files.sync(self.base)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
