"""Two PostgreSQLs, of which one follows the other, and their backups: what Patroni makes of a failover, step by step."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg

from restante.server.backup.cluster import SLOT
from restante.server.backup.settings import BackupSettings, load
from restante.server.backup.timelines import SEGMENT_BYTES
from restante.server.store import migrations

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
MAIL = "INSERT INTO message SELECT 1, nextval('body_number'), 1, 1, 0, '', '', '', '', '', false, '', NULL"
# PostgreSQL refuses to run as root.
AS_USER = [] if os.geteuid() else ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
ROW_BYTES = 1000  # short enough that it is written as it is, and not compressed
RECEIVE = """
import sys
from pathlib import Path
from restante.server.backup import job
from restante.server.backup.settings import load
job.receive(load(Path(sys.argv[1])))
"""


class Member:
    def __init__(self, folder: Path, binaries: Path) -> None:
        self.folder, self._binaries = folder, binaries
        self.url = f"host={folder} user=postgres"
        folder.mkdir()
        if AS_USER:
            shutil.chown(folder, "postgres")

    @property
    def runs(self) -> bool:
        return (self.folder / "data/postmaster.pid").exists()

    def tool(self, name: str, *words: str) -> None:
        command = [*AS_USER, str(self._binaries / name), "-D", str(self.folder / "data"), *words]
        subprocess.run(command, check=True, timeout=60, stdout=subprocess.DEVNULL, cwd=self.folder)

    def start(self, **options: str) -> None:
        given = {"listen_addresses": "", "unix_socket_directories": self.folder, **options}
        words = " ".join(f"-c {name}='{value}'" for name, value in given.items())
        self.tool("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", words, "start")

    def stop(self, how: str = "immediate") -> None:
        self.tool("pg_ctl", "-w", "-m", how, "stop")

    def sql(self, *statements: str, database: str = "postgres") -> None:
        words = [word for statement in statements for word in ("-c", statement)]
        psql = ["psql", f"{self.url} dbname={database}", "-Xq", *words]
        subprocess.run(psql, check=True, timeout=30, stdout=subprocess.DEVNULL)

    def waits_for(self, names: str) -> None:
        """Who must have a commit on disk, too, before it is acknowledged."""
        self.sql(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")

    def deliver(self, count: int) -> None:
        """So many mails, all of them acknowledged when this returns: the receiver has begun, and has them."""
        self.sql(f"{MAIL} FROM generate_series(1, {count})", database="restante")


class Pair:
    """`first` leads; what it acknowledged is on `second`, and in the log that was received."""

    def __init__(self, folder: Path, binaries: Path) -> None:
        self.first, self.second = (Member(folder / name, binaries) for name in ("first", "second"))
        backups, self._toml = folder / "backups", folder / "backup.toml"
        backups.mkdir(mode=0o700)
        if AS_USER:
            shutil.chown(backups, "postgres", "postgres")
        self._toml.write_text(
            f'engine = "postgresql-ha"\ndirectory = "{backups}"\nkeep_s = 86400\nfloor_bytes = 0\n'
            f'version = "{binaries.parent.name}"\nserver = "host={self.first.folder},{self.second.folder} user=postgres"\n'
        )
        self._receiver: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> BackupSettings:
        return load(self._toml)

    def begin(self) -> None:
        self.first.tool("initdb", "-U", "postgres", "-A", "trust", "--data-checksums")
        self.first.start()
        self.first.sql("CREATE DATABASE restante")
        with psycopg.connect(f"{self.first.url} dbname=restante", autocommit=True) as connection:
            migrations.postgresql(connection, 0)
        self.second.tool("pg_basebackup", "-d", f"{self.first.url} application_name=second", "-R", "--checkpoint=fast")
        self._follow()
        self.second.sql(f"SELECT pg_create_physical_replication_slot('{SLOT}', true)")
        self.first.waits_for("FIRST 2 (second, pg_receivewal)")

    def _follow(self) -> None:
        """Once it leads, it waits for the log's receiver: a test awaits by it that a commit was received."""
        self.second.start(synchronous_standby_names="pg_receivewal")

    def receive(self) -> None:
        """As its unit does, again after each end."""
        if self._receiver:
            self._receiver.wait(30)
        self._receiver = subprocess.Popen([sys.executable, "-c", RECEIVE, str(self._toml)])

    def lead_alone(self, segments: int) -> None:
        """Three mails, and so many segments of log after them, that nobody but the receiver has: `second` is away."""
        self.second.stop("fast")
        self.first.waits_for("pg_receivewal")
        self.first.deliver(3)
        rows = segments * SEGMENT_BYTES // ROW_BYTES
        self.first.sql(
            f"CREATE TABLE alone AS SELECT repeat('x', {ROW_BYTES}) FROM generate_series(1, {rows})",
            database="restante",
        )

    def fail_over(self) -> None:
        self.first.stop()
        if not self.second.runs:
            self._follow()
        self.second.tool("pg_ctl", "-w", "promote")

    def end(self) -> None:
        if self._receiver:
            self._receiver.kill()
            self._receiver.wait()
        for each in (self.first, self.second):
            if each.runs:
                each.stop()
