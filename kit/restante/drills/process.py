"""Processes that a drill starts beside itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any


def apart(argv: Sequence[str], **streams: Any) -> subprocess.Popen[str]:
    """A process in a session of its own, so that `end` takes all of it, and a Ctrl-C only us."""
    return subprocess.Popen(argv, text=True, bufsize=1, cwd="/", start_new_session=True, **streams)


def end(process: subprocess.Popen[str]) -> None:
    """kill -9, of what it started too."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
