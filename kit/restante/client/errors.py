"""What a mailbox may raise."""

from __future__ import annotations

from typing import Any

from restante.errors import RestanteError


class MailboxError(RestanteError):
    """Everything that a mailbox raises."""


class UnavailableError(MailboxError):
    """The post office could not be reached, or is busy. Nothing is lost: the same call may work later."""


class RefusedError(MailboxError):
    """The post office said no: the same call gives the same answer. `code` is its own word for it."""

    exit_code = 2

    def __init__(self, status: int, code: str, message: str, details: Any = None) -> None:
        self.status, self.code, self.details = status, code, details
        super().__init__(message)


class UnauthorizedError(RefusedError):
    """The token is missing, wrong, revoked, or not for this inbox."""


class ConfigurationError(MailboxError):
    """Something is missing before anything could be tried: a URL, an inbox, a token."""

    exit_code = 2
