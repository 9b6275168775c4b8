"""What the wire names without showing how the store counts: receipt handles, message ids, batches, tickets. All are signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import struct
from dataclasses import dataclass

from restante.server.store.base import Handle

_FORM = struct.Struct(">QQQ")
_MAC = 12  # bytes: guessing one takes 2**95 tries at the mean
_MESSAGE = re.compile(r"msg_([0-9a-f]{8,16})([0-9a-f]{12})([0-9a-f]{8})")


@dataclass(frozen=True)
class Signer:
    """Makes and reads them with the store's key."""

    key: bytes

    def handle(self, handle: Handle, epoch: str) -> str:
        """`epoch` is the inbox's: once history was rewritten, the same numbers are another message's."""
        return self._sign(b"r" + epoch.encode(), handle.consumer_id, handle.seq, handle.lease)

    def read_handle(self, text: str, epoch: str) -> Handle | None:
        found = self._read(b"r" + epoch.encode(), text)
        return Handle(*found) if found else None

    def batch(self, consumer_id: int, first: int, last: int, epoch: str) -> str:
        return self._sign(b"b" + epoch.encode(), consumer_id, first, last)

    def read_batch(self, text: str, epoch: str) -> tuple[int, int, int] | None:
        """(consumer, first lease, last lease)"""
        return self._read(b"b" + epoch.encode(), text)

    def ticket(self, token_id: str, expires_at: int) -> str:
        # Two tickets of one second are two: each opens one connection.
        return self._sign(b"t", int(token_id, 16), expires_at, secrets.randbits(63))

    def read_ticket(self, text: str) -> tuple[str, int] | None:
        found = self._read(b"t", text)
        return (f"{found[0]:012x}", found[1]) if found else None

    def _sign(self, kind: bytes, *numbers: int) -> str:
        body = _FORM.pack(*numbers)
        return base64.urlsafe_b64encode(body + self._mac(kind, body)).decode()

    def _read(self, kind: bytes, text: str) -> tuple[int, int, int] | None:
        try:
            raw = base64.b64decode(text, altchars=b"-_", validate=True) if len(text) == 48 else b""
        except ValueError:
            return None
        body, mac = raw[: _FORM.size], raw[_FORM.size :]
        if len(raw) != _FORM.size + _MAC or not hmac.compare_digest(mac, self._mac(kind, body)):
            return None
        first, second, third = _FORM.unpack(body)
        return first, second, third

    def _mac(self, kind: bytes, body: bytes) -> bytes:
        return hashlib.blake2b(kind + body, key=self.key, digest_size=_MAC).digest()


def message_id(inbox_id: int, seq: int, received_at: float) -> str:
    """Sorts as the inbox does. It opens nothing by itself: every use names the inbox, and the token must be for that.

    The time tells two mails apart that had the same number, one before a restore and one after it; a mail that a restore brought
    back has the id that it had.
    """
    return f"msg_{inbox_id:08x}{seq:012x}{int(received_at * 1000) & 0xFFFFFFFF:08x}"


def read_message_id(text: str) -> tuple[int, int] | None:
    """(inbox, number). Whether the message of that number has this very id is for `message_id` to say."""
    match = _MESSAGE.fullmatch(text)
    return (int(match[1], 16), int(match[2], 16)) if match else None
