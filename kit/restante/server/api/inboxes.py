"""Inboxes and consumers."""

from __future__ import annotations

import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from restante.server.api import views
from restante.server.api.context import ApiError, Post
from restante.server.api.errors import answer
from restante.server.api.once import IdempotencyKey, once
from restante.server.api.schemas import ConsumerCreate, InboxCreate, InboxUpdate, Seek
from restante.server.store import inboxes
from restante.server.store.base import InboxDraft, NotFoundError
from restante.server.store.tx import Tx

router = APIRouter(tags=["inboxes"])
PAGE = 100


def post_of(request: Request) -> Post:
    post: Post = request.app.state.post
    return post


@router.post("/v1/inboxes", status_code=201)
async def create_inbox(request: Request, body: InboxCreate, idempotency_key: IdempotencyKey = None) -> Response:
    """Create an inbox; the same `client_id` again answers 200 with the one that is there."""
    post = post_of(request)
    caller = await post.caller(request)
    domains = post.settings.inboxes.domains
    domain = (body.domain or domains[0] if domains else body.domain or "").lower()
    if domain not in domains:
        raise ApiError(
            400,
            "unknown_domain",
            f"mail for {domain or 'no domain'} does not come here; accepted: {', '.join(domains)}",
        )
    address = f"{(body.username or secrets.token_hex(6)).lower()}@{domain}"
    if not caller.may(address, "manage"):
        raise ApiError(403, "forbidden", f"this token may not manage {address}")

    draft = InboxDraft(address, **body.model_dump(exclude={"username", "domain"}))

    def work(tx: Tx) -> tuple[int, Any]:
        inbox, new = inboxes.create(tx, draft)
        return (201 if new else 200), views.inbox(inbox, post.settings)

    return await once(post, caller, idempotency_key, body.model_dump_json(), work)


@router.get("/v1/inboxes")
async def list_inboxes(
    request: Request,
    cursor: Annotated[int, Query(ge=0, le=1 << 53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = PAGE,
) -> Response:
    """The inboxes that the token may touch, in the order of their creation."""
    post = post_of(request)
    caller = await post.caller(request)
    found = await post.store.inboxes(cursor, limit)
    allowed = [
        each for each in found if any(caller.may(each.address, scope) for scope in ("receive", "read", "manage"))
    ]
    following = str(found[-1].id) if len(found) == limit else None
    return answer({"items": [views.inbox(each, post.settings) for each in allowed], "next_cursor": following})


@router.get("/v1/inboxes/{inbox}")
async def get_inbox(request: Request, inbox: str) -> Response:
    post = post_of(request)
    return answer(views.inbox(await post.inbox(await post.caller(request), inbox, "read"), post.settings))


@router.patch("/v1/inboxes/{inbox}")
async def update_inbox(request: Request, inbox: str, body: InboxUpdate) -> Response:
    """Change what is named; null goes back to the server's default."""
    post = post_of(request)
    found = await post.inbox(await post.caller(request), inbox, "manage")
    changed = await post.store.update_inbox(found.address, body.model_dump(exclude_unset=True))
    return answer(views.inbox(changed, post.settings))


@router.delete("/v1/inboxes/{inbox}")
async def delete_inbox(request: Request, inbox: str, force: bool = False) -> Response:
    """Refused while it holds unacknowledged mail, unless forced."""
    post = post_of(request)
    found = await post.inbox(await post.caller(request), inbox, "manage")
    gone = await post.store.delete_inbox(found.address, force=force)
    return answer({"deleted": found.address, "unacknowledged": gone})


@router.get("/v1/inboxes/{inbox}/consumers")
async def list_consumers(request: Request, inbox: str) -> Response:
    post = post_of(request)
    found = await post.inbox(await post.caller(request), inbox, "read")
    items = [views.consumer(each, found) for each in await post.store.consumers(found.address)]
    return answer({"items": items, "next_cursor": None})


@router.post("/v1/inboxes/{inbox}/consumers", status_code=201)
async def create_consumer(
    request: Request, inbox: str, body: ConsumerCreate, idempotency_key: IdempotencyKey = None
) -> Response:
    """Another consumer of the inbox gets all of its mail, independently. Retention waits for it."""
    post = post_of(request)
    caller = await post.caller(request)
    found = await post.inbox(caller, inbox, "manage")

    def work(tx: Tx) -> tuple[int, Any]:
        made = inboxes.create_consumer(tx, found.address, body.name, views.position(found, body.start))
        return 201, views.consumer(made, found)

    return await once(post, caller, idempotency_key, f"{found.address} {body.model_dump_json()}", work)


@router.post("/v1/inboxes/{inbox}/consumers/{name}/seek")
async def seek(request: Request, inbox: str, name: str, body: Seek) -> Response:
    """Go on after a cursor. All leases of the consumer end."""
    post = post_of(request)
    found = await post.inbox(await post.caller(request), inbox, "manage")
    await post.store.seek(found.id, name, views.position(found, body.cursor))
    post.hub.wake(found.id)
    for each in await post.store.consumers(found.address):
        if each.name == name:
            return answer(views.consumer(each, found))
    raise NotFoundError(f"{found.address} has no consumer {name}")


@router.delete("/v1/inboxes/{inbox}/consumers/{name}")
async def delete_consumer(request: Request, inbox: str, name: str) -> Response:
    post = post_of(request)
    found = await post.inbox(await post.caller(request), inbox, "manage")
    await post.store.delete_consumer(found.address, name)
    return answer({"deleted": name})
