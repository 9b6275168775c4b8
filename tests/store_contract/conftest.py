"""One suite, every store. PostgreSQL runs where its server is installed: always in `make test-lab`."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from scenario import POLICY, Run, database

from restante.server.store.base import Inbox, InboxDraft
from restante.server.store.postgres import PostgresStore
from restante.server.store.sqlite import SqliteStore
from restante.server.store.store import Store


def postgresql_binaries() -> Path | None:
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A server of its own on a unix socket; its URL without a database. It may not run as root."""
    binaries = postgresql_binaries()
    if not binaries:
        pytest.skip("no PostgreSQL server is installed here; make test-lab installs one")
    folder = Path(tempfile.mkdtemp(prefix="restante-pg-"))  # pytest's own folders are closed to another user
    as_user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data = folder / "data"
    subprocess.run(
        [*as_user, str(binaries / "initdb"), "-U", "postgres", "-A", "trust", "-D", str(data)],
        check=True,
        capture_output=True,
    )
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c max_connections=200"
    control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
    subprocess.run(
        [*control, "-l", str(folder / "log"), "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, timeout=60
    )
    try:
        yield f"host={folder} user=postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=False, capture_output=True)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Store]:
    """A store on fresh ground; called again, another server on the same."""
    if request.param == "sqlite":
        return lambda policy=POLICY: SqliteStore(tmp_path / "store.sqlite", policy)
    url = request.getfixturevalue("postgresql")
    name = database(url)
    return lambda policy=POLICY: PostgresStore(f"{url} dbname={name}", policy)


@pytest.fixture
def run(make_store: Callable[..., Store]) -> Run:
    """Run a scenario with a started store that has the inbox a@example.org."""

    def scenario(work: Callable[[Store, Inbox], Coroutine[Any, Any, None]]) -> None:
        async def inner() -> None:
            store = make_store()
            await store.start()
            try:
                inbox, _ = await store.create_inbox(InboxDraft("a@example.org"))
                await work(store, inbox)
            finally:
                await store.close()

        asyncio.run(asyncio.wait_for(inner(), 30))

    return scenario
