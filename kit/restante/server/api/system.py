"""What an operator and a probe ask: alive, ready, metrics, ledger, backup."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Request
from prometheus_client import generate_latest
from pydantic import Field, StringConstraints
from starlette.responses import Response

from restante.errors import FoundError
from restante.server.api.context import ADMIN, EDGE, ApiError, Post
from restante.server.api.errors import answer
from restante.server.api.inboxes import post_of
from restante.server.api.schemas import Request as Request_
from restante.server.api.tokens import admin
from restante.server.backup import copies, folder
from restante.server.gauges import observe
from restante.server.store.base import StoreError
from restante.server.store.sqlite import SqliteStore

router = APIRouter(tags=["system"])


async def _near(post: Post, request: Request) -> None:
    """Loopback and the admin socket need no token; nginx does not route these paths."""
    host = request.client.host if request.client else ""
    forwarded = "x-forwarded-for" in request.headers
    try:
        near = ipaddress.ip_address(host).is_loopback and not forwarded
    except ValueError:
        near = False
    if not near and not request.scope.get(ADMIN):
        await admin(post, request)


@router.get("/healthz")
async def healthz(request: Request) -> Response:
    """The process answers."""
    await _near(post_of(request), request)
    return answer({"status": "alive"})


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """The store takes a write."""
    post = post_of(request)
    await _near(post, request)
    if post.hub.draining.is_set() or not post.ready:
        raise ApiError(503, "unavailable", "the server is starting or stopping")
    await post.store.write(lambda tx: tx.run("set_meta", key="ready", value=repr(tx.now)))
    return answer({"status": "ready", "engine": post.store.engine, "durability": dict(await post.store.durability())})


@router.post("/edge/move")
async def move(request: Request) -> Response:
    """An edge was reloaded, and cuts its old sockets after its drain: agents on them open another before. For the edge itself alone."""
    post = post_of(request)
    if not request.scope.get(EDGE) or "x-forwarded-for" in request.headers or not request.client:
        raise ApiError(404, "not_found", "this is for an edge, and not for whom it speaks for")
    await post.move("edge", request.client.host)
    return answer({"moved": True})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    post = post_of(request)
    await _near(post, request)
    async with post.scrape:
        await observe(post)
        shown = await asyncio.to_thread(
            generate_latest, post.metrics.registry
        )  # thousands of lines at times; agents go first
    return Response(shown, media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/ledger")
async def ledger(request: Request) -> Response:
    """Where every stored message is, summed over all inboxes and consumers. Queue ids are known from `known_since` on."""
    post = post_of(request)
    await admin(post, request)
    totals = await post.store.totals()
    ready = totals["new"] + totals["waiting"]
    acked = totals["offered"] - ready - totals["leased"] - totals["dead"]
    return answer({
        "stored": totals["stored"], "kept": totals["kept"], "offered": totals["offered"], "ready": ready, "leased": totals["leased"],
        "acked": acked, "dead": totals["dead"],
        "known_since": post.store.clock.now() - post.settings.inboxes.hop_retention_s,
    })  # fmt: skip


class Known(Request_):
    queue_ids: Annotated[list[Annotated[str, StringConstraints(max_length=100)]], Field(max_length=5000)]
    """Long queue ids of this host's Postfix."""


@router.post("/v1/ledger/unknown")
async def unknown(request: Request, body: Known) -> Response:
    """Which of these mails no commit holds."""
    post = post_of(request)
    await admin(post, request)
    names = {f"{post.settings.server.host}/{queue_id}": queue_id for queue_id in body.queue_ids}
    rows = await post.store.read(lambda tx: tx.all("hops_known", identities=list(names)))
    known = {row[0] for row in rows}
    return answer({"unknown": [queue_id for name, queue_id in names.items() if name not in known]})


@router.post("/v1/backups", status_code=201)
async def create_backup(request: Request) -> Response:
    """A consistent copy of a SQLite store, verified, in the server's folder of backups."""
    post = post_of(request)
    await admin(post, request)
    if not isinstance(post.store, SqliteStore):
        raise ApiError(
            409, "conflict", "this store is PostgreSQL's: its backup runs on the store host, restante-backup.timer"
        )
    directory, path = post.settings.backups, post.store.path

    def make() -> folder.Copy:
        with folder.alone(directory):
            return copies.make(path, directory)

    try:
        made = await asyncio.to_thread(make)
    except FoundError as error:
        raise ApiError(503, "unavailable", str(error)) from None
    return answer({**asdict(made), "directory": str(directory)}, 201)


@router.get("/v1/durability")
async def durability(request: Request) -> Response:
    """The store's settings that make a commit durable, read from the live engine."""
    post = post_of(request)
    await admin(post, request)
    try:
        return answer({"engine": post.store.engine, **await post.store.durability()})
    except StoreError as error:
        raise ApiError(503, "unavailable", str(error)) from None
