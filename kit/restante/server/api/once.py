"""`Idempotency-Key`: a create that is repeated because its answer was lost makes nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Annotated, Any

import orjson
from fastapi import Header
from starlette.responses import Response

from restante.server.api.context import ApiError, Caller, Post
from restante.server.store import idempotency
from restante.server.store.tx import Tx

IdempotencyKey = Annotated[str | None, Header(max_length=200)]


async def once(
    post: Post, caller: Caller, key: str | None, said: str, work: Callable[[Tx], tuple[int, Any]], hidden: str = ""
) -> Response:
    """`work` gives a status and a content. The same request again gets the first answer, without its member `hidden`.

    Raises ApiError 422 when the key came with another request.
    """
    digest = hashlib.sha256(said.encode()).digest()

    def keyed(tx: Tx) -> tuple[int, bytes]:
        if key and not idempotency.claim(tx, caller.token_id, key, digest):
            request, status, response = idempotency.kept(tx, caller.token_id, key)
            if request != digest:
                raise ApiError(422, "idempotency_key_reused", "this Idempotency-Key came with another request before")
            return status, response.encode()
        status, content = work(tx)
        if key:
            shown = {name: value for name, value in content.items() if name != hidden}
            idempotency.keep(tx, caller.token_id, key, status, orjson.dumps(shown).decode())
        return status, orjson.dumps(content)

    status, content = await post.store.write(keyed)
    return Response(content, status, media_type="application/json")
