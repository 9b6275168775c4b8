"""Restante: mail that the post office keeps until its agent calls for it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from restante.client.aio import AsyncMailbox
    from restante.client.mailbox import Mailbox
    from restante.client.seen import Seen
    from restante.client.webhook import verify_webhook

__version__ = "0.1.0"
__all__ = ["AsyncMailbox", "Mailbox", "Seen", "verify_webhook"]
_WHERE = {"AsyncMailbox": "aio", "Mailbox": "mailbox", "Seen": "seen", "verify_webhook": "webhook"}


def __getattr__(name: str) -> Any:
    """What an agent imports; the kit and the server import none of it."""
    if name not in _WHERE:
        raise AttributeError(f"module 'restante' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"restante.client.{_WHERE[name]}"), name)
