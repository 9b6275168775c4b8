"""Webhooks are judged as Standard Webhooks says."""

from __future__ import annotations

import json

import pytest

from restante import verify_webhook
from restante.client.webhook import WebhookError
from restante.server.push.webhook import signature

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
BODY = json.dumps({"type": "message.received"}).encode()


def headers(secret: str = SECRET, at: int = 1000) -> dict[str, str]:
    return {
        "Webhook-Id": "w1",
        "Webhook-Timestamp": str(at),
        "Webhook-Signature": f"v1a,xx {signature(secret, 'w1', at, BODY)}",
    }


def test_ours_is_taken_with_any_of_our_secrets() -> None:
    assert verify_webhook(headers(), BODY, SECRET, now=1000) == {"type": "message.received"}
    assert verify_webhook(headers(OTHER), BODY, [SECRET, OTHER], now=1299)


@pytest.mark.parametrize(
    ("given", "body", "now", "sentence"),
    [
        (headers(), BODY, 1301, "301 s old"),
        (headers(), BODY, 699, "-301 s old"),
        (headers(), BODY + b" ", 1000, "no signature"),
        (headers(OTHER), BODY, 1000, "no signature"),
        ({**headers(), "Webhook-Signature": "v1,!!! v1, v2,x"}, BODY, 1000, "no signature"),
        ({**headers(), "Webhook-Timestamp": "soon"}, BODY, 1000, "belong to every webhook"),
        ({"Webhook-Id": "w1"}, BODY, 1000, "belong to every webhook"),
    ],
)  # fmt: skip
def test_what_is_not_ours_is_refused(given: dict[str, str], body: bytes, now: float, sentence: str) -> None:
    with pytest.raises(WebhookError, match=sentence):
        verify_webhook(given, body, SECRET, now=now)
