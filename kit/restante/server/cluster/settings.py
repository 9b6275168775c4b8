"""/etc/restante/cluster.json: who the members are, and the settings they share. The kit renders it on each of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from restante.errors import InputError
from restante.server.settings import Section

FILE = Path("/etc/restante/cluster.json")


class Archive(Section):
    """The host that keeps the backups."""

    name: str
    conninfo: str
    """libpq's, of what it has restored and serves."""


class ClusterSettings(Section):
    own: str
    """This member's name."""
    members: Mapping[str, str]
    """Name -> address, of all."""
    etcd_port: int
    patroni_port: int
    identity: Path
    """Folder of cert.pem and key.pem, which this member shows."""
    root: Path
    """The authority that all of them believe."""
    version: str
    """PostgreSQL's major version."""
    data: Path
    """PostgreSQL's files; there once the member has a copy."""
    settings: Mapping[str, Any]
    """Patroni's dynamic configuration."""
    archive: Archive | None
    """None where the kit makes no backups."""


def load(path: Path = FILE) -> ClusterSettings:
    """Raises InputError with every problem."""
    try:
        return ClusterSettings.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; the kit renders it on the hosts of a replicated store"
        ) from None
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise InputError("\n".join(lines)) from None
