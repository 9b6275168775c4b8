"""What a receiver of webhooks checks (Standard Webhooks): that it is ours, and that it is fresh."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from restante.client.errors import MailboxError

TOLERANCE_S = 300  # Standard Webhooks' own: older ones may be somebody's recording


class WebhookError(MailboxError):
    """Not ours, or too old. Answer 400, and do nothing with the body."""


def verify_webhook(
    headers: Mapping[str, str], body: bytes, secret: str | Sequence[str], *, now: float | None = None
) -> dict[str, Any]:
    """The event. `body` is the bytes as they came; `secret`, or several during a rotation, as in whsec_.... Raises WebhookError."""
    given = {name.lower(): value for name, value in headers.items()}
    try:
        name, timestamp, signatures = (given[f"webhook-{part}"] for part in ("id", "timestamp", "signature"))
        age = (time.time() if now is None else now) - int(timestamp)
    except (KeyError, ValueError):
        raise WebhookError(
            "webhook-id, webhook-timestamp and webhook-signature belong to every webhook of ours"
        ) from None
    if abs(age) > TOLERANCE_S:
        raise WebhookError(
            f"the webhook is {age:.0f} s old; {TOLERANCE_S} s are accepted: look at this machine's clock"
        )
    signed = f"{name}.{timestamp}.".encode() + body
    secrets = [secret] if isinstance(secret, str) else secret
    expected = [hmac.digest(_key(each), signed, hashlib.sha256) for each in secrets]
    for text in signatures.split():
        version, _, value = text.partition(",")
        if version == "v1" and any(hmac.compare_digest(_bytes(value), each) for each in expected):
            return dict(json.loads(body))
    raise WebhookError("no signature of this webhook was made with a secret of ours")


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
