"""One control group per host, in every hierarchy that systemd or a fault needs.

Without it the hosts' systemds, started with --keep-unit, would share one tree, and system.slice of one host would be
that of all. With cgroup v1 in hybrid mode a host's systemd uses the unified hierarchy and the others count and limit;
on pure v2 there is only the unified one (supported, not tested where this was written).
"""

from __future__ import annotations

import os
from pathlib import Path

from restante.lab.system import await_true

ROOT = Path("/sys/fs/cgroup")
_V1 = ("systemd", "memory", "freezer", "pids")
_DELEGATED = ("cpu", "memory", "pids")
_REMOVAL_LIMIT_S = 5


def unified(root: Path = ROOT) -> Path | None:
    """The v2 hierarchy: the whole mount, or the part called unified beside v1."""
    return next((path for path in (root, root / "unified") if (path / "cgroup.controllers").exists()), None)


def hierarchies(root: Path = ROOT) -> list[Path]:
    v2 = unified(root)
    return [*([v2] if v2 else []), *(root / name for name in _V1 if (root / name / "cgroup.procs").exists())]


def prepare(group: str) -> None:
    """A fresh group. What a killed host left in it would kill units of the next boot with status=9 (Linux 6.18)."""
    remove(group)
    for hierarchy in hierarchies():
        (hierarchy / group).mkdir(parents=True)
    if (ROOT / "cgroup.controllers").exists():
        _delegate((ROOT / group).parent)


def enter(group: str) -> None:
    """Move the calling process in. 0 stands for the writer, whatever its pid namespace (cgroups(7))."""
    for hierarchy in hierarchies():
        (hierarchy / group / "cgroup.procs").write_text("0")


def remove(group: str) -> None:
    """Remove the group and what is below it; waits for processes on their way out."""
    await_true(lambda: sum(not _removed(hierarchy / group) for hierarchy in hierarchies()) == 0, _REMOVAL_LIMIT_S)


def left(group: str) -> list[Path]:
    """Where the group still is."""
    return [hierarchy / group for hierarchy in hierarchies() if (hierarchy / group).exists()]


def freeze(group: str, *, frozen: bool) -> None:
    _freezer(group).write_text("1" if frozen else "0")


def is_frozen(group: str) -> bool:
    return _freezer(group).exists() and _freezer(group).read_text().strip() == "1"


def _freezer(group: str) -> Path:
    return (unified() or ROOT) / group / "cgroup.freeze"


def _delegate(lab: Path) -> None:
    """On v2 a group has the controllers that its parent hands down."""
    available = (ROOT / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in _DELEGATED if name in available)
    for level in (ROOT, lab):
        (level / "cgroup.subtree_control").write_text(wanted)


def _removed(top: Path) -> bool:
    for path, _, _ in os.walk(top, topdown=False):
        try:
            Path(path).rmdir()
        except OSError:
            return False
    return True
