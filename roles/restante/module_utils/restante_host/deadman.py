"""A dead-man's switch for the firewall: unless a new connection confirms it, the host goes back by itself.

It runs from a copy of this code, kept beside the releases, because ansible's own copy is gone when the timer fires.
"""

from __future__ import annotations

import shlex
import shutil
import sys
import zipfile
from pathlib import Path

from .errors import FailedError, RefusedError
from .manifest import STATE
from .store import Store
from .system import Host
from .units import states

UNIT = "restante-deadman"
TABLE = ("nft", "delete", "table", "inet", "restante")
# From the firewall's change to the confirmation: the rest of the release, then one ssh connection.
SECONDS = 60
SECONDS_PER_COMPONENT = 20


def arm(host: Host, code: Path, components: int) -> None:
    """`code`: the archive that this package was imported from."""
    kept = host.path(f"{STATE}/deadman")
    shutil.copyfile(code, kept)
    kept.chmod(0o600)
    disarm(host)
    with zipfile.ZipFile(kept, "a") as archive:
        archive.writestr("__main__.py", f"import sys\nfrom {__name__} import fire\nsys.exit(fire())\n")
    # No character here that a unit file would escape: systemd 252 misreads its own `\;` after a daemon-reload.
    back = f"/usr/bin/python3 {kept} || {shlex.join(TABLE)}"
    seconds = SECONDS + SECONDS_PER_COMPONENT * components
    timer = ["--unit", UNIT, f"--on-active={seconds}", "--timer-property=AccuracySec=1s"]
    armed = host.system.run(["systemd-run", "--quiet", "--collect", *timer, "/bin/sh", "-c", back])
    if armed.code != 0:
        raise FailedError(f"the dead-man's switch could not be armed, so the firewall is not changed: {armed.said}")


def open_up(host: Host) -> None:
    """Take our table away. What serves next loads its own, or has none; a component without a unit leaves it behind."""
    host.system.run(TABLE)


def armed(host: Host) -> bool:
    """Does the timer still wait? One that fired has taken the release back, is about to, or could not."""
    timer = f"{UNIT}.timer"
    return states(host, [timer])[timer].sub == "waiting"


def disarm(host: Host) -> None:
    host.system.run(["systemctl", "stop", f"{UNIT}.timer"])


def fire() -> int:
    """Put the release before back, without anyone asking. What it says goes to the journal of restante-deadman."""
    from .apply import put_back

    host = Host()
    store = Store(host)
    try:
        with store.locked(wait=True):
            pending = store.linked("pending")
            if pending is None:
                return 0
            open_up(host)
            said, code = put_back(store, pending), 0
    except (FailedError, RefusedError, OSError) as error:
        said, code = f"The release before could not be put back: {error}", 1
    sys.stderr.write(f"No new connection confirmed the firewall. {said}\n")
    return code
