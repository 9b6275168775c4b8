"""The process that is a lab: the first one of its pid namespace, so that all of the lab ends when it does.

Started by Lab under unshare(1), with mount, network and pid namespaces of its own. Nothing asks it for anything:
whoever wants to act on the lab enters its namespaces.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from restante.lab import network
from restante.lab.layout import CONTROL_SOCKETS, Layout
from restante.lab.system import hold, run


def main(directory: str, leash: str = "") -> None:
    """Furnish the namespaces, lock the lab as running, wait. `leash`: a descriptor whose end of file ends the lab."""
    layout = Layout(Path(directory))
    # A /run of our own: namespaces, control sockets and nspawn's bookkeeping stay out of the machine's.
    run(["mount", "-t", "tmpfs", "-o", "mode=755,size=64m", "tmpfs", "/run"])
    Path("/run/netns").mkdir()
    CONTROL_SOCKETS.mkdir(mode=0o700)
    run(["mount", "--bind", str(layout.hosts_file), "/etc/hosts"])
    network.lay_out()
    # The kernel then reaps what is left to us (wait(2)); only now, because run() must see its children end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    hold(layout.lock)
    if leash:
        os.read(int(leash), 1)
    else:
        signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
