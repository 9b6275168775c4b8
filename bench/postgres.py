"""A PostgreSQL cluster of the benchmark's own, with the settings that the kit renders, on a unix socket."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.processes import Log, process, run
from bench.rendered import rendered

# What needs a network, which this one does not have.
NETWORK = re.compile(r"(?m)^(listen_addresses|port|ssl) = .*$")


@dataclass(frozen=True)
class Cluster:
    folder: Path

    def database(self, name: str) -> str:
        """A new one; its URL."""
        with psycopg.connect(self._url("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return self._url(name)

    def _url(self, name: str) -> str:
        return f"postgresql:///{name}?host={self.folder}&user=postgres"


def lacking() -> str:
    return "" if _binaries() else "the package postgresql"


def _binaries() -> Path | None:
    """Debian keeps them out of the PATH, one folder for each version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which("initdb")
    return Path(path).parent if path else None


@contextmanager
def postgres(folder: Path) -> Iterator[Cluster]:
    folder.mkdir()
    binaries = _binaries()
    user = {}
    if not os.geteuid():  # PostgreSQL refuses to run as root
        shutil.chown(folder, "postgres", "postgres")
        user = {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": [], "cwd": folder}
    data = folder / "data"
    run([f"{binaries}/initdb", "-D", str(data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"], **user)
    own = f"listen_addresses = ''\nunix_socket_directories = '{folder}'\n"
    with (data / "postgresql.conf").open("a") as file:
        file.write(NETWORK.sub("", rendered("store-1", "conf.d/restante.conf")) + own)
    argv = [f"{binaries}/postgres", "-D", str(data)]
    with process(argv, signal.SIGINT, stderr=subprocess.PIPE, **user) as server:
        Log(server.stderr).until("ready to accept connections")
        yield Cluster(folder)
