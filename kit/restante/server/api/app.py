"""The FastAPI application over a Post."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from restante import __version__
from restante.server.api import delivery, errors, inboxes, messages, sockets, system, tokens, webhooks
from restante.server.api.context import Post
from restante.server.api.schemas import Error

_REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error, "description": text}
    for status, text in {
        400: "the request can't be understood", 401: "no token, or a wrong one", 403: "the token may not", 404: "not there",
        409: "in the way of what is there", 410: "the cursor is too old", 413: "too large", 422: "the key came with another request",
        503: "not now; try again",
    }.items()
}  # fmt: skip


def routes() -> FastAPI:
    """The API without a post office behind it: what the OpenAPI document is made of."""
    app = FastAPI(
        title="Restante", version=__version__, summary="Mail that waits for its agent", docs_url=None, redoc_url=None,
        responses=_REFUSALS,
    )  # fmt: skip
    errors.install(app)
    for module in (inboxes, delivery, messages, sockets, tokens, webhooks, system):
        app.include_router(module.router)
    return app


def application(post: Post) -> ASGIApp:
    app = routes()
    app.state.post = post
    guarded: ASGIApp = Direct(errors.Guard(app, post.metrics), post)
    if post.settings.http.cors:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=list(post.settings.http.cors),
            allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type"],
        )
    return guarded


class Direct:
    """Sockets go past FastAPI: each would keep its twenty frames and three exit stacks for life, a third of what a socket takes."""

    def __init__(self, app: ASGIApp, post: Post) -> None:
        self.app, self.post = app, post

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and scope["path"] == sockets.PATH:
            await sockets.websocket(WebSocket(scope, receive, send), self.post)
        else:
            await self.app(scope, receive, send)


class Marked:
    """The same application on a socket of its own, which says who asks: whoever may open the host's own is the administrator."""

    def __init__(self, app: ASGIApp, mark: str) -> None:
        self.app, self.mark = app, mark

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            scope[self.mark] = True
        await self.app(scope, receive, send)
