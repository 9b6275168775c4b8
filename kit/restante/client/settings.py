"""Where the post office is and who we are: arguments first, then the environment, then a systemd credential."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from restante.client.errors import ConfigurationError

CREDENTIAL = "restante-token"


@dataclass(frozen=True, slots=True)
class Settings:
    """Seconds where a name ends in `_s`. docs/reference/sdk.md is made of this table."""

    url: str
    inbox: str
    token: str
    consumer: str = "default"
    """Each consumer of an inbox gets all of its mail; several workers of one consumer share it."""
    worker: str = ""
    """The same after a restart: its own leases come back at once. No two mailboxes of one inbox may share it. $RESTANTE_WORKER"""
    max_in_flight: int = 1
    """Messages that this process holds at once: more is faster, and more is repeated when it is killed. At most 100."""
    lease_s: float = 60
    """How long a message is ours without a word; extended while a handler runs."""
    max_handling_s: float = 1800
    """The longest that one handler may take; then its message is given back, and systemd restarts the process."""
    nack_delay_s: float = 10
    """Before the second attempt; each further one waits three times as long."""
    timeout_s: float = 10
    """For a request to be answered, beyond what it asked the server to wait."""
    poll_s: float = 20
    """How long one request waits for mail while no push channel stands. The server holds at most 25."""
    reconcile_s: float = 300
    """How often to ask though nothing was signalled, with up to 30 % on top: what no channel told is found then."""
    push: bool = True
    """False: no WebSocket and no stream, polling only."""

    @property
    def path(self) -> str:
        return f"/v1/inboxes/{quote(self.inbox, safe='@')}"


def resolve(
    url: str | None, inbox: str | None, token: str | None, environment: Mapping[str, str] = os.environ
) -> tuple[str, str, str]:
    """(URL, inbox, token). Raises ConfigurationError with what is missing and where it may be given."""
    url = url or environment.get("RESTANTE_URL")
    if not url:
        raise ConfigurationError(
            "no post office is named: give Mailbox a URL as in https://mail.example.org, or set RESTANTE_URL"
        )
    if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
        raise ConfigurationError(f"{url!r} is no URL of a post office; as in https://mail.example.org")
    inbox = inbox or environment.get("RESTANTE_INBOX")
    if not inbox:
        raise ConfigurationError(
            "no inbox is named: give Mailbox inbox=, as in support@example.org, or set RESTANTE_INBOX"
        )
    token = token or environment.get("RESTANTE_TOKEN") or _credential(environment)
    if not token:
        raise ConfigurationError(
            f"there is no token: give Mailbox token=, set RESTANTE_TOKEN, or let systemd load the credential {CREDENTIAL}; "
            "`restante token create` makes one"
        )
    return url.rstrip("/"), inbox, token


def _credential(environment: Mapping[str, str]) -> str | None:
    path = Path(environment.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / CREDENTIAL
    return path.read_text().strip() if path.is_file() else None


def worker(environment: Mapping[str, str] = os.environ) -> str:
    """The environment's, or one that no other process has."""
    return environment.get("RESTANTE_WORKER") or f"{os.getpid()}-{secrets.token_hex(4)}"
