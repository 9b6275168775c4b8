"""The kit's agent on the controller, which ends when the drill does: a process that was killed closes its end of the pipe."""

from __future__ import annotations

import os
import runpy
import sys
import threading

from restante.drills.fleet import STACKS


def follow() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=follow, daemon=True).start()
    runpy.run_path(str(STACKS / "kit/agent.py"), run_name="__main__")
