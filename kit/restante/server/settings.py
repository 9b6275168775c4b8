"""/etc/restante/restante.toml: the seam between what the kit renders and what runs. Every default stands here once."""

from __future__ import annotations

import ipaddress
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from restante.errors import InputError

Seconds = Annotated[int, Field(ge=0)]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Server(Section):
    host: str
    """This host's name in the spec: first part of every hop identity."""
    domain: str
    """The name under which agents reach the edge."""
    data: Path
    """Where the server keeps its files."""


class StoreSettings(Section):
    engine: str = Field("sqlite", pattern="^(sqlite|postgresql)$")
    path: Path | None = None
    """SQLite's database; below `data` when left out."""
    url: str | None = None
    """PostgreSQL's libpq URL, without a password."""
    url_file: Path | None = None
    """A file that holds the URL, when it is a secret."""
    password_file: Path | None = None
    """A file that holds the password, below $CREDENTIALS_DIRECTORY when relative."""
    free_space_floor: int = 512 << 20
    """Bytes that stay free; below them mail is refused for a while (452 4.3.1)."""


class Inboxes(Section):
    domains: tuple[str, ...] = ()
    """Domains whose mail is taken."""
    predefined: tuple[str, ...] = ()
    """Inboxes that are created at start."""
    lease_s: Seconds = 300
    attempts: Annotated[int, Field(ge=1)] = 5
    retention_s: Seconds = 30 * 86_400
    quota_bytes: int = 1 << 30
    message_bytes: int = 25 << 20
    hop_retention_s: Seconds = 7 * 86_400


class Heartbeat(Section):
    interval_s: Seconds = 15
    pong_timeout_s: Seconds = 5
    misses: int = 2
    server_silence_s: Seconds = 45


class Socket(Section):
    max_age_s: Seconds = 0
    """Age at which sockets are moved; 0: never."""
    reconnect_spread_s: Seconds = 0
    drain_s: Seconds = 20


class Http(Section):
    keepalive_timeout_s: Seconds = 75
    longpoll_hold_s: Seconds = 25
    cors: tuple[str, ...] = ()
    """Origins of browsers that may call the API."""
    certificate: Path | None = None
    """Chain that is shown to edges, on the sockets called `edge`; read anew when it was renewed."""
    key: Path | None = None


class Webhooks(Section):
    allow: tuple[Network, ...] = ()
    """Networks that are not public, and may be called all the same."""
    https_only: bool = True


class Postfix(Section):
    recipients: Path | None = None
    """The SQLite map that Postfix answers RCPT from."""


class Alert(Section):
    command: str | None = None
    """The kit's alert program: COMMAND message KIND TEXT."""


class Backup(Section):
    directory: Path | None = None
    """Where copies of a SQLite store lie; below `data` when left out."""
    stale_after_s: Seconds = 0
    """Age of the newest at which a person is told; 0: never."""


class Certificate(Section):
    """One that somebody on this host must renew."""

    path: Path
    warn_before_s: Seconds
    """With less to go nobody renewed it in time."""


class Settings(Section):
    server: Server
    store: StoreSettings = StoreSettings()
    inboxes: Inboxes = Inboxes()
    heartbeat: Heartbeat = Heartbeat()
    socket: Socket = Socket()
    http: Http = Http()
    webhooks: Webhooks = Webhooks()
    postfix: Postfix = Postfix()
    alert: Alert = Alert()
    backup: Backup = Backup()
    certificates: Mapping[str, Certificate] = {}
    """What it is for -> the certificate, for the metric of its end."""

    @property
    def store_path(self) -> Path:
        return self.store.path or self.server.data / "store.sqlite"

    @property
    def backups(self) -> Path:
        return self.backup.directory or self.server.data / "backups"


def load(path: Path) -> Settings:
    """Raises InputError with every problem."""
    try:
        return Settings.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; the kit renders it, see `restante render`"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()]
        raise InputError("\n".join(lines)) from None
