"""The whole staged tree tested on the host itself, before anything changes.

A copy of /etc (and of our own folders elsewhere), with the release laid over it, is mounted over the real one in a
mount namespace of its own; each component's test runs in there, and sees the host as it will be. Nobody else does.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import files
from .changes import Step
from .errors import RefusedError
from .manifest import Item
from .system import Host

USERADD = ("useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin")
INSIDE = 'while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done; shift; exec "$@"'


@dataclass(frozen=True)
class Verdict:
    """How one test ended: passed, failed, or undecided, with the reason."""

    component: str
    command: str
    outcome: str
    said: str = ""

    def as_json(self) -> dict[str, str]:
        return asdict(self)


def run(step: Step) -> list[Verdict]:
    """Every component's tests. While packages are still missing a test that does not pass is undecided, not failed."""
    with _copies(step) as inside:
        for name in step.changes.users:
            created = step.host.system.run([*inside, *USERADD, name])
            if created.code != 0:
                raise RefusedError(f"the user {name} could not be created, even for the test: {created.said}")
        tests = [(component.name, argv) for component in step.new.components for argv in component.test]
        return [_judge(step, inside, name, argv) for name, argv in tests]


def demand(verdicts: Sequence[Verdict]) -> None:
    """Refuse the release at its first failed test."""
    for verdict in verdicts:
        if verdict.outcome == "failed":
            message = f"{verdict.component}: the release was tested on the host and refused; nothing was changed.\n"
            raise RefusedError(f"{message}`{verdict.command}` said: {verdict.said}", verdict.component)


def _judge(step: Step, inside: Sequence[str], component: str, argv: Sequence[str]) -> Verdict:
    command, done = shlex.join(argv), step.host.system.run([*inside, *argv])
    if done.code == 0:
        return Verdict(component, command, "passed")
    if step.changes.packages:
        missing = f"not installed yet: {', '.join(step.changes.packages)} (a deploy installs it first)"
        return Verdict(component, command, "undecided", f"{missing}; until then it says: {done.said}")
    return Verdict(component, command, "failed", done.said)


@contextlib.contextmanager
def _copies(step: Step) -> Iterator[list[str]]:
    """The argv that enters the staged tree, as long as the copies live."""
    temporary = step.host.path("/var/tmp")  # noqa: S108 a folder of its own below it, for root alone
    work = Path(tempfile.mkdtemp(prefix="restante-trial-", dir=temporary))
    made: list[Path] = []
    try:
        copy = Host(work, step.host.system)
        areas = step.new.areas().union(*(old.areas() for old in step.known), {"/etc"})
        places = [place for area in sorted(areas) for place in _mount(step.host, copy, area, made)]
        _lay(copy, step)
        yield ["unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-ec", INSIDE, "sh", *places, "--"]
    except OSError as error:
        raise RefusedError(f"the release could not be laid out for its test ({error}); nothing was changed") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):
                folder.rmdir()


def _mount(host: Host, copy: Host, area: str, made: list[Path]) -> list[str]:
    """Copy an area; [copy, mount point]. A mount point that is made for the test is in `made`, and goes again."""
    live, target = host.path(area), copy.path(area)
    for folder in (*reversed(live.parents), live):
        if not folder.exists():
            folder.mkdir(mode=0o755)
            made.append(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    done = host.system.run(["cp", "--archive", "--reflink=auto", str(live), str(target)])
    if done.code != 0:
        raise RefusedError(f"{area} could not be copied for the test: {done.said}")
    return [str(target), str(live)]


def _lay(copy: Host, step: Step) -> None:
    for path in step.changes.prune:
        original = files.live(step.store.kept, path)
        copy.path(path).unlink(missing_ok=True)
        if original is not None:
            copy.path(path).write_bytes(original.data)
    for path in step.changes.write:
        files.swap(files.write_beside(copy, _ownable(step.new.items[path]), step.contents[path], durable=False))


def _ownable(item: Item) -> Item:
    """An owner that a package or the release still has to bring is root in the copy: the tests run as root."""
    try:
        files.ids(item)
    except RefusedError:
        return replace(item, owner="root", group="root")
    return item
