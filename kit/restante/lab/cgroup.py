"""One cgroup per host in every hierarchy: without it, hosts would share one tree. v1 hybrid is tested, pure v2 is not."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PURE_V2 = (ROOT / "cgroup.controllers").exists()
NSPAWN_ENVIRONMENT = {"UNIFIED_CGROUP_HIERARCHY": "1", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
_HIERARCHIES = ("memory", "systemd", "freezer", "pids", "unified")
_REMOVAL_LIMIT_S = 5


def directories(lab: str, host: str = "") -> list[Path]:
    roots = [ROOT] if PURE_V2 else [ROOT / name for name in _HIERARCHIES if (ROOT / name).is_dir()]
    return [root / f"restante-{lab}" / host for root in roots]


def freeze(lab: str, host: str, *, frozen: bool) -> None:
    if PURE_V2:
        (directories(lab, host)[0] / "cgroup.freeze").write_text("1" if frozen else "0")
    else:
        state = ROOT / "freezer" / f"restante-{lab}" / host / "freezer.state"
        state.write_text("FROZEN" if frozen else "THAWED")


def remove(lab: str, host: str = "") -> None:
    """A cgroup can be removed a moment after its last process is gone; tried for a few seconds."""
    deadline = time.monotonic() + _REMOVAL_LIMIT_S
    while (left := [path for path in directories(lab, host) if path.exists()]) and time.monotonic() < deadline:
        for top in left:
            for folder in sorted((path for path in top.rglob("*") if path.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            with contextlib.suppress(OSError):
                top.rmdir()
        time.sleep(0.02)
