"""Webhooks: told of mail by POST. They deliver nothing: the mail waits in its inbox whatever becomes of them."""

from __future__ import annotations

import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from restante.server.api.context import ApiError, Caller, Post
from restante.server.api.errors import answer
from restante.server.api.inboxes import post_of
from restante.server.api.once import IdempotencyKey, once
from restante.server.api.schemas import WebhookCreate, WebhookRecover, WebhookUpdate
from restante.server.handles import message_id
from restante.server.push.webhook import name
from restante.server.store import webhooks
from restante.server.store.tx import Tx
from restante.server.store.webhooks import Webhook

router = APIRouter(tags=["webhooks"])
OVERLAP_S = 86_400


def shown(hook: Webhook, *, secret: bool = False) -> dict[str, Any]:
    """The secret is shown where it is made, and nowhere else."""
    return {
        "id": hook.id, "url": hook.url, "event_types": list(hook.event_types), "inbox_ids": list(hook.inboxes),
        "headers": dict(hook.headers), "client_id": hook.client_id, "state": hook.state, "reason": hook.reason,
        "created_at": hook.created_at,
        **({"secret": hook.secrets[0][0]} if secret else {}),
    }  # fmt: skip


def _check(caller: Caller, inboxes: list[str]) -> None:
    for address in inboxes or ["*"]:
        if not caller.may(address.lower(), "manage"):
            raise ApiError(
                403, "forbidden", f"this token may not manage {'all inboxes' if address == '*' else address}"
            )


async def _own(request: Request, webhook: str) -> tuple[Post, Webhook]:
    post = post_of(request)
    caller = await post.caller(request)
    found = await post.store.read(lambda tx: webhooks.get(tx, webhook))
    _check(caller, list(found.inboxes))
    return post, found


@router.post("/v1/webhooks", status_code=201)
async def create_webhook(request: Request, body: WebhookCreate, idempotency_key: IdempotencyKey = None) -> Response:
    """The first answer alone shows the secret that signs."""
    post = post_of(request)
    caller = await post.caller(request)
    _check(caller, body.inbox_ids)
    if post.settings.webhooks.https_only and not body.url.startswith("https://"):
        raise ApiError(400, "invalid_request", "url is not https; the spec's webhooks.https_only: false allows it")

    def work(tx: Tx) -> tuple[int, Any]:
        made, new = webhooks.create(
            tx, body.url, event_types=body.event_types, inboxes=body.inbox_ids, headers=body.headers,
            client_id=body.client_id,
        )  # fmt: skip
        return (201 if new else 200), shown(made, secret=new)

    answered = await once(post, caller, idempotency_key, body.model_dump_json(), work, hidden="secret")
    answered.headers["Cache-Control"] = "no-store"
    return answered


@router.get("/v1/webhooks")
async def list_webhooks(request: Request) -> Response:
    post = post_of(request)
    caller = await post.caller(request)
    found = await post.store.read(webhooks.everyone)
    mine = [hook for hook in found if all(caller.may(address, "manage") for address in hook.inboxes or ["*"])]
    return answer({"items": [shown(hook) for hook in mine], "next_cursor": None})


@router.get("/v1/webhooks/{webhook}")
async def get_webhook(request: Request, webhook: str) -> Response:
    return answer(shown((await _own(request, webhook))[1]))


@router.patch("/v1/webhooks/{webhook}")
async def update_webhook(request: Request, webhook: str, body: WebhookUpdate) -> Response:
    """state: active resumes a paused one, and what had failed is sent again."""
    post, _ = await _own(request, webhook)
    changes = body.model_dump(exclude_unset=True, exclude_none=True)
    if "inbox_ids" in changes:
        _check(await post.caller(request), changes["inbox_ids"])
        changes["inboxes"] = changes.pop("inbox_ids")
    if changes.get("url", "https://").startswith("http://") and post.settings.webhooks.https_only:
        raise ApiError(400, "invalid_request", "url is not https; the spec's webhooks.https_only: false allows it")
    if changes.get("state") == "paused":
        changes["reason"] = "paused by hand"
    made = await post.store.write(lambda tx: webhooks.update(tx, webhook, **changes))
    post.dispatcher.wake()
    return answer(shown(made))


@router.delete("/v1/webhooks/{webhook}")
async def delete_webhook(request: Request, webhook: str) -> Response:
    post, _ = await _own(request, webhook)
    await post.store.write(lambda tx: webhooks.delete(tx, webhook))
    return answer({"deleted": webhook})


@router.get("/v1/webhooks/{webhook}/deliveries")
async def list_deliveries(
    request: Request, webhook: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> Response:
    """The newest first."""
    post, _ = await _own(request, webhook)
    found = await post.store.read(lambda tx: webhooks.deliveries(tx, webhook, limit))
    items = [
        {
            "id": name(each), "message": message_id(each.inbox_id, each.seq, each.received_at or 0.0), "state": each.state,
            "attempts": each.attempts,
            "next_at": each.next_at if each.state == "pending" else None, "status": each.status, "last_error": each.last_error,
            "created_at": each.created_at,
        }
        for each in found
    ]  # fmt: skip
    return answer({"items": items, "next_cursor": None})


@router.post("/v1/webhooks/{webhook}/test")
async def test_webhook(request: Request, webhook: str) -> Response:
    """Send one event of type test now."""
    post, found = await _own(request, webhook)
    status, error = await post.dispatcher.test(found)
    return answer({"status": status, "error": error, "delivered": error is None})


@router.post("/v1/webhooks/{webhook}/rotate-secret")
async def rotate_secret(request: Request, webhook: str) -> Response:
    """A new secret, shown here alone; the old one signs too for a day."""
    post, _ = await _own(request, webhook)
    made = await post.store.write(lambda tx: webhooks.rotate(tx, webhook, OVERLAP_S))
    return answer(shown(made, secret=True), headers={"Cache-Control": "no-store"})


@router.post("/v1/webhooks/{webhook}/recover")
async def recover(request: Request, webhook: str, body: WebhookRecover) -> Response:
    """Send what was received in a time range again."""
    post, _ = await _own(request, webhook)
    until = body.until or time.time() + 60
    number = await post.store.write(lambda tx: webhooks.recover(tx, webhook, body.since, until))
    post.dispatcher.wake()
    return answer({"recovering": number})
