"""/etc/restante/backup.toml: what is backed up on this host, and where to. The kit renders it, timers and verbs read it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import ValidationError, model_validator

from restante.errors import InputError
from restante.server.settings import Seconds, Section

FILE = Path("/etc/restante/backup.toml")


class BackupSettings(Section):
    engine: Literal["sqlite", "postgresql", "postgresql-ha"]
    """What the store is."""
    directory: Path
    """Where backups lie."""
    keep_s: Seconds
    """How far back a restore can go."""
    floor_bytes: int
    """What stays free where they lie."""
    path: Path | None = None
    """SQLite's database."""
    version: str | None = None
    """PostgreSQL's major version; its cluster is Debian's own, called main, unless `server` leads elsewhere."""
    server: str | None = None
    """libpq's conninfo of a replicated store's members."""

    @model_validator(mode="after")
    def _names_its_store(self) -> BackupSettings:
        if (self.path if self.engine == "sqlite" else self.version) is None:
            raise ValueError(
                f"the engine is {self.engine}: {'path' if self.engine == 'sqlite' else 'version'} is missing"
            )
        if (self.engine == "postgresql-ha") != bool(self.server):
            raise ValueError(
                f"the engine is {self.engine}: server is {'missing' if not self.server else 'not its own'}"
            )
        return self


def load(path: Path = FILE) -> BackupSettings:
    """Raises InputError with every problem."""
    try:
        return BackupSettings.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; the kit renders it on the host that the store is on"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise InputError("\n".join(lines)) from None
