"""receive, ack, nack, extend: the truth that no signal replaces."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from restante.protocol.position import Cursor
from restante.server.api import views
from restante.server.api.context import ApiError, Post
from restante.server.api.errors import answer
from restante.server.api.inboxes import post_of
from restante.server.api.schemas import Ack, Extend, Nack, Receive, Redrive
from restante.server.handles import read_message_id
from restante.server.push.hub import Waiter
from restante.server.store import base
from restante.server.store.base import Batch, Handle, HandleResult, Inbox

router = APIRouter(tags=["delivery"])
AGAIN_S = 2.0  # a wait looks again this often: another server's notification may be lost


@router.post("/v1/inboxes/{inbox}/receive")
async def receive(request: Request, inbox: str, body: Receive) -> Response:
    """Hand over what waits, under a lease each. Nothing is acknowledged but what `ack_batch` names."""
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "receive")
    wanted = _wanted(post, owner, body)
    end = time.monotonic() + min(body.wait_seconds, post.settings.http.longpoll_hold_s)
    with post.hub.waiter(owner.id) as waiter:
        while True:
            batch = await post.store.receive(owner.id, wanted)
            left = end - time.monotonic()
            if batch.deliveries or left <= 0 or post.hub.draining.is_set():
                break
            await _something(post, waiter, owner, wanted.consumer, batch.next_ready_at, end)
            if await request.is_disconnected():
                return answer({})  # nobody is there to take a lease
    post.metrics.received.inc(len(batch.deliveries))
    return answer(await _shown(post, owner, batch))


async def _something(
    post: Post, waiter: Waiter, owner: Inbox, consumer: str, ready_at: float | None, end: float
) -> None:
    """Until there may be a message to hand over, or `end`. Looking costs a read, where `receive` would commit each time."""
    while (left := end - time.monotonic()) > 0 and not post.hub.draining.is_set():
        due = (ready_at or float("inf")) - post.store.clock.now()
        await waiter.wait(min(left, max(due, 0.01), AGAIN_S))
        if await post.store.anything_ready(owner.id, consumer):
            return


def _wanted(post: Post, owner: Inbox, body: Receive) -> base.Receive:
    acknowledge = None
    if body.ack_batch:
        acknowledge = post.signer.read_batch(body.ack_batch, owner.epoch)
        if acknowledge is None:
            raise ApiError(
                400,
                "unknown_batch",
                "ack_batch is not a batch of ours, or of before a restore; give `batch` back as it was received",
            )
    return base.Receive(
        body.consumer, body.max_messages, body.visibility_timeout or owner.lease_s or post.settings.inboxes.lease_s,
        owner.attempts or post.settings.inboxes.attempts, body.worker, body.reclaim, body.attempt_id,
        acknowledge,
    )  # fmt: skip


async def _shown(post: Post, owner: Inbox, batch: Batch) -> dict[str, Any]:
    raw = await post.store.bodies([each.summary.body_id for each in batch.deliveries]) if batch.deliveries else {}
    size = sum(each.summary.size for each in batch.deliveries)
    shown = await views.beside(
        size, lambda: [views.message(each.summary, owner, raw[each.summary.body_id]) for each in batch.deliveries]
    )
    leases = [each.lease for each in batch.deliveries]
    items = [
        {
            "receipt_handle": post.signer.handle(Handle(batch.consumer_id, each.summary.seq, each.lease), owner.epoch),
            "attempt": each.attempt, "first_received_at": each.first_received_at, "lease_expires_at": each.lease_expires_at,
            "message": message,
        }
        for each, message in zip(batch.deliveries, shown, strict=True)
    ]  # fmt: skip
    return {
        "batch": post.signer.batch(batch.consumer_id, min(leases), max(leases), owner.epoch) if leases else None, "items": items,
        "cursor": str(Cursor(owner.epoch, batch.frontier)), "head": str(Cursor(owner.epoch, batch.head)),
        "has_more": batch.remaining > 0, "remaining": batch.remaining, "next_ready_in_s": _next_ready_in(post, batch),
    }  # fmt: skip


def _next_ready_in(post: Post, batch: Batch) -> float | None:
    """No signal tells of a delay that ends or of a lease that runs out: who waits without polling is to ask again then."""
    return None if batch.next_ready_at is None else max(0.0, batch.next_ready_at - post.store.clock.now())


def _handles(post: Post, owner: Inbox, texts: Sequence[str]) -> list[Handle | None]:
    return [post.signer.read_handle(text, owner.epoch) for text in texts]


def _results(
    post: Post, verb: str, texts: Sequence[str], read: Sequence[Handle | None], known: Sequence[HandleResult]
) -> Response:
    found = iter(known)
    results = [next(found) if handle else HandleResult.unknown for handle in read]
    for result, number in Counter(results).items():
        post.metrics.settled.labels(verb, result).inc(number)
    pairs = zip(texts, results, strict=True)
    return answer({"results": [{"receipt_handle": text, "result": result.value} for text, result in pairs]})


@router.post("/v1/inboxes/{inbox}/ack")
async def ack(request: Request, inbox: str, body: Ack) -> Response:
    """Settle. `ok` again for what is settled; a stale handle never settles somebody else's lease."""
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "receive")
    read = _handles(post, owner, body.receipt_handles)
    return _results(
        post, "ack", body.receipt_handles, read, await post.store.ack(owner.id, [each for each in read if each])
    )


@router.post("/v1/inboxes/{inbox}/nack")
async def nack(request: Request, inbox: str, body: Nack) -> Response:
    """Give back, at once or after a delay; after the last attempt it becomes a dead letter."""
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "receive")
    read = _handles(post, owner, body.receipt_handles)
    known = await post.store.nack(
        owner.id, [each for each in read if each], delay_s=body.delay_seconds, reason=body.reason,
        attempts=owner.attempts or post.settings.inboxes.attempts, counted=body.count_attempt,
    )  # fmt: skip
    post.hub.wake(owner.id)
    return _results(post, "nack", body.receipt_handles, read, known)


@router.post("/v1/inboxes/{inbox}/extend")
async def extend(request: Request, inbox: str, body: Extend) -> Response:
    """A new lease from now."""
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "receive")
    read = _handles(post, owner, body.receipt_handles)
    known = await post.store.extend(owner.id, [each for each in read if each], body.visibility_timeout)
    return _results(post, "extend", body.receipt_handles, read, known)


@router.get("/v1/inboxes/{inbox}/dead-letters")
async def dead_letters(
    request: Request,
    inbox: str,
    cursor: Annotated[str, Query(max_length=40)] = "earliest",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "read")
    found = await post.store.dead_letters(owner.id, views.position(owner, cursor), limit)
    full = len({each.summary.seq for each in found}) == limit
    following = str(Cursor(owner.epoch, found[-1].summary.seq)) if full else None
    return answer({"items": [views.dead_letter(each, owner) for each in found], "next_cursor": following})


@router.post("/v1/inboxes/{inbox}/dead-letters/redrive")
async def redrive(request: Request, inbox: str, body: Redrive) -> Response:
    """Make dead letters ready again: those named, or those received in a time range. Attempts are counted anew."""
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "manage")
    redriven = await post.store.redrive(owner.id, *_range(owner, body))
    post.hub.wake(owner.id)
    return answer({"redriven": redriven})


@router.post("/v1/inboxes/{inbox}/dead-letters/discard")
async def discard(request: Request, inbox: str, body: Redrive) -> Response:
    """Settle dead letters that nobody needs: those named, or those received in a time range. What follows them may go in its time."""
    post = post_of(request)
    owner = await post.inbox(await post.caller(request), inbox, "manage")
    return answer({"discarded": await post.store.discard(owner.id, *_range(owner, body))})


def _range(owner: Inbox, body: Redrive) -> tuple[list[int] | None, float, float]:
    """Numbers of messages, or None for all of a time range."""
    if body.ids is None and body.since is None and body.until is None:
        raise ApiError(400, "invalid_request", "say which: ids, or since and until")
    named = [read_message_id(text) for text in body.ids] if body.ids is not None else None
    seqs = None if named is None else [each[1] for each in named if each and each[0] == owner.id]
    return seqs, body.since or 0.0, body.until or 1e15
