"""PostgreSQL as backups see it: Debian's `main` on this host, or a replicated one elsewhere. Its tools, its slot for the log."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from restante.errors import FoundError
from restante.server.backup import timelines
from restante.server.backup.timelines import History

SOCKETS = "/var/run/postgresql"
SLOT = "restante"


@dataclass(frozen=True)
class Cluster:
    """`server`: libpq's conninfo of the members of a replicated one; None: Debian's own on this host."""

    version: str
    server: str | None = None

    @property
    def leader(self) -> str:
        """libpq's conninfo of the one that takes writes."""
        return f"{self.server} target_session_attrs=read-write" if self.server else f"host={SOCKETS}"

    @property
    def spared(self) -> str:
        """libpq's conninfo of a member that has time for a copy of all files: one that does not lead, when there is one."""
        return f"{self.server} target_session_attrs=prefer-standby" if self.server else self.leader

    @property
    def data(self) -> Path:
        return Path(f"/var/lib/postgresql/{self.version}/main")

    @property
    def config(self) -> Path:
        return Path(f"/etc/postgresql/{self.version}/main/postgresql.conf")

    @property
    def unit(self) -> str:
        return f"postgresql@{self.version}-main.service"

    def tool(self, name: str) -> str:
        """The version's own: Debian's wrapper in /usr/bin is Perl, and guesses a cluster."""
        return f"/usr/lib/postgresql/{self.version}/bin/{name}"

    def slot_position(self) -> str:
        """Where the log that the slot keeps begins; "" when there is no slot, or when it was given up."""
        return self._replication(f"READ_REPLICATION_SLOT {SLOT}").split("|")[1]

    def history(self) -> History:
        """Of the timeline that its leader writes."""
        timeline = int(self._replication("IDENTIFY_SYSTEM").split("|")[1])
        # The first one has no file.
        text = self._replication(f"TIMELINE_HISTORY {timeline}").partition("|")[2] if timeline > 1 else ""
        return timelines.read(timeline, text)

    def new_slot(self) -> None:
        """One that was given up is in the way of another."""
        if self._replication(f"READ_REPLICATION_SLOT {SLOT}").split("|")[0]:
            self._replication(f"DROP_REPLICATION_SLOT {SLOT}")
        self._replication(f"CREATE_REPLICATION_SLOT {SLOT} PHYSICAL RESERVE_WAL")

    def _replication(self, command: str) -> str:
        return run(self.tool("psql"), "-XAtq", f"{self.leader} replication=true", "-c", command)


def run(*argv: str, text: str | None = None) -> str:
    """Output of a tool; raises FoundError with what it complains about. No user is named: the kernel tells PostgreSQL who asks."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin",
        "LC_ALL": "C.UTF-8",
        "PGHOST": SOCKETS,
        "HOME": os.environ.get("HOME", "/"),
    }
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise FoundError(f"{argv[0]} could not be started: {error.strerror}") from None
    if done.returncode:
        raise FoundError(f"{Path(argv[0]).name} failed: {done.stderr.strip() or f'exit status {done.returncode}'}")
    return done.stdout.strip()
