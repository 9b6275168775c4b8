"""Tokens and tickets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from restante.server.api import views
from restante.server.api.context import ApiError, Caller, Post
from restante.server.api.errors import answer
from restante.server.api.inboxes import post_of
from restante.server.api.once import IdempotencyKey, once
from restante.server.api.schemas import TokenCreate
from restante.server.store import tokens
from restante.server.store.tx import Tx

router = APIRouter(tags=["tokens"])


async def admin(post: Post, request: Request) -> Caller:
    """Raises ApiError 403 for anyone else."""
    caller = await post.caller(request)
    if not caller.admin:
        raise ApiError(403, "forbidden", "this needs an admin token, or the host's own admin socket")
    return caller


@router.post("/v1/tokens", status_code=201)
async def create_token(request: Request, body: TokenCreate, idempotency_key: IdempotencyKey = None) -> Response:
    """The first answer is the only place where the token is ever shown."""
    post = post_of(request)
    caller = await admin(post, request)
    if not body.admin and not body.scopes:
        raise ApiError(
            400,
            "invalid_request",
            'this token could do nothing; give scopes, as in {"support@example.org": ["receive"]}',
        )
    scopes = {address.lower(): list(names) for address, names in body.scopes.items()}
    token_id, text, digest = tokens.mint()

    def work(tx: Tx) -> tuple[int, Any]:
        made = tokens.add(tx, token_id, digest, body.name, admin=body.admin, scopes=scopes)
        return 201, {**views.token(made), "token": text}

    answered = await once(post, caller, idempotency_key, body.model_dump_json(), work, hidden="token")
    answered.headers["Cache-Control"] = "no-store"
    return answered


@router.get("/v1/tokens")
async def list_tokens(request: Request) -> Response:
    post = post_of(request)
    await admin(post, request)
    return answer({"items": [views.token(each) for each in await post.store.tokens()], "next_cursor": None})


@router.delete("/v1/tokens/{token}")
async def revoke_token(request: Request, token: str) -> Response:
    """At once on this server, within 2 s on the others; its sockets are closed at their next ping."""
    post = post_of(request)
    await admin(post, request)
    revoked = await post.store.revoke_token(token)
    post.forget(revoked)
    return answer(views.token(revoked))


@router.post("/v1/tickets", status_code=201)
async def create_ticket(request: Request) -> Response:
    """For browsers, which can't send a header with a WebSocket or EventSource: good for one connection, for 30 s."""
    post = post_of(request)
    caller = await post.caller(request)
    if not caller.token_id:
        raise ApiError(400, "invalid_request", "a ticket stands for a token; the admin socket needs none")
    ticket, expires = post.ticket(caller)
    return answer({"ticket": ticket, "expires_at": expires}, 201, {"Cache-Control": "no-store"})
