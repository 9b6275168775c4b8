"""A fault on one host, held by this process as a dog is by its lead: when we let go, however that comes about, it is over.

The host's systemd is told how to heal before anything is broken (ExecStopPost, which runs however a unit ends), and the unit ends when
its standard input does: our process ended, or was killed, or ssh died of a silent network. It ends by itself after a time, too.
"""

from __future__ import annotations

import shlex
import subprocess

from restante.drills.console import Remote
from restante.drills.process import apart
from restante.errors import FoundError

FOLDER = "/run/restante-drill"  # gone with a reboot, as its units are
RUN, FAULT = "restante-drill-run", "restante-drill-fault"
HEALS_WITHIN_S = 300  # PostgreSQL may have to recover
_BROKEN = "broken"  # what the host says when it is


class Leash:
    """`inject` and `heal` are lines of shell; `heal` must do no harm where nothing is broken."""

    def __init__(self, host: Remote, unit: str, inject: str, heal: str, limit_s: float) -> None:
        self.host, self.unit = host, unit
        self._script = script(unit, inject, heal, limit_s)
        self._process: subprocess.Popen[str] | None = None
        self._broken = False

    def pull(self) -> None:
        """Returns when it is broken. Raises FoundError with the host's own complaint."""
        pipe = subprocess.PIPE
        self._process = apart(self.host.command(["sh", "-c", self._script]), stdin=pipe, stdout=pipe, stderr=pipe)
        assert self._process.stdout
        if self._process.stdout.readline().strip() != _BROKEN:
            _, said = self._process.communicate(timeout=HEALS_WITHIN_S)
            raise FoundError(f"drill: {self.host.name}: {_why(said)}")
        self._broken = True

    def let_go(self) -> None:
        """Returns when it is healed, as far as its own lines can tell; harmless when nothing was broken."""
        if not self._process or (self._process.poll() is not None and not self._broken):
            return
        if self._process.poll() is not None:
            assert self._process.stderr
            said = self._process.stderr.read()
            raise FoundError(f"drill: {self.host.name}: the fault was over before its time: {_why(said)}")
        try:
            _, said = self._process.communicate(timeout=HEALS_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise FoundError(
                f"drill: {self.host.name}: {self.unit} did not heal within {HEALS_WITHIN_S} s; look at it there"
            ) from None
        if self._process.returncode:
            raise FoundError(f"drill: {self.host.name}: the fault is over, but not as it should be: {_why(said)}")


def script(unit: str, inject: str, heal: str, limit_s: float) -> str:
    """What a root shell on the host does. The lines travel as files: systemd would read their $ and % as its own."""
    broken, healed = f"{FOLDER}/{unit}.inject", f"{FOLDER}/{unit}.heal"
    files = {
        broken: f"set -e\n{{\n{inject}\n}} >&2\necho {_BROKEN}\nexec cat >/dev/null\n",
        healed: f"{heal}\nstatus=$?\nrm -f {broken} {healed}\nrmdir --ignore-fail-on-non-empty {FOLDER}\nexit $status\n",
    }
    settings = {
        "ExecStopPost": f"/bin/sh {healed}", "RuntimeMaxSec": f"{limit_s:.0f}", "TimeoutStopSec": HEALS_WITHIN_S,
    }  # fmt: skip
    words = f"systemd-run --quiet --pipe --wait --collect --unit={unit}".split()
    words += ["--description=Restante drill: what is broken here is healed when this unit ends"]
    words += [word for key, value in settings.items() for word in ("-p", f"{key}={value}")]
    writes = [f"printf %s {shlex.quote(text)} > {path}" for path, text in files.items()]
    # First of all: a unit of that name is another drill's, and its files must stay as they are.
    return "; ".join(
        [unless(unit), "set -e", f"mkdir -p {FOLDER}", *writes, f"exec {shlex.join([*words, '/bin/sh', broken])}"]
    )


def unless(unit: str) -> str:
    """A line of shell that ends with a sentence where the unit is there."""
    sentence = (
        f"a drill is under way here, or one that was killed has still to heal ({unit}.service); "
        f"wait for it, or end it there with: systemctl stop {unit}"
    )
    there = f"systemctl list-units --all --plain --no-legend {unit}.service"
    return f'[ -z "$({there})" ] || {{ echo {shlex.quote(sentence)} >&2; exit 1; }}'


def _why(said: str) -> str:
    return (said.strip().splitlines() or ["it did not say why"])[-1]
