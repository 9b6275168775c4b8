"""A dead-man's switch for the firewall: unless a new connection confirms it, the host goes back by itself.

It runs from a copy of this code, kept beside the releases, because ansible's own copy is gone when the timer fires.
"""

from __future__ import annotations

import os
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
# For one ssh connection, from when all of the release is up.
UNTIL_CONFIRMED_S = 60
# Until then it is only there in case that the apply itself dies: longer than systemd may take for slow services.
WHILE_APPLYING_S = 900
# For a deploy that holds the lock; after it the table is simply taken away.
LOCK_LIMIT_S = 300


def arm(host: Host, code: Path, seconds: int) -> None:
    """Go back in so many seconds, whatever was armed before. `code`: the archive that this package was imported from."""
    kept = host.path(f"{STATE}/deadman")
    shutil.copyfile(code, kept)
    kept.chmod(0o600)
    disarm(host)
    with zipfile.ZipFile(kept, "a") as archive:
        archive.writestr("__main__.py", f"import sys\nfrom {__name__} import fire\nsys.exit(fire())\n")
    # No character here that a unit file would escape: systemd 252 misreads its own `\;` after a daemon-reload.
    back = f"/usr/bin/python3 {kept} || {shlex.join(TABLE)}"
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
    from .apply import open_and_put_back

    os.umask(0o022)
    host = Host()
    store = Store(host)
    try:
        with store.locked(wait_s=LOCK_LIMIT_S):
            pending = store.linked("pending")
            if pending is None:
                return 0
            said, code = open_and_put_back(store, pending), 0
    except (FailedError, RefusedError, OSError) as error:
        said, code = f"The release before could not be put back: {error}", 1
    sys.stderr.write(f"No new connection confirmed the firewall. {said}\n")
    return code
