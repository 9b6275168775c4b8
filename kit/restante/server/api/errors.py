"""Every refusal has one shape: {"error": {code, message, request_id, details}}; none shows a traceback or a mail."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restante.server.api.context import ApiError
from restante.server.metrics import Metrics
from restante.server.store.base import ConflictError, NotFoundError, StoreError, TooOldError

log = logging.getLogger("restante.http")
BODY_LIMIT = 1 << 20
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_CODES = {400: "invalid_request", 401: "unauthorized", 404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(content), status, dict(headers or {}), "application/json")


def refusal(request_id: str, status: int, code: str, message: str, details: Any = None) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": "1"} if status == 503 else {}
    body = {"error": {"code": code, "message": message, "request_id": request_id, "details": details}}
    return answer(body, status, headers)


def install(app: FastAPI) -> None:
    def handler(kind: type[Exception], status: int, code: str) -> None:
        async def handle(request: Request, error: Exception) -> Response:
            details = {"oldest": error.oldest} if isinstance(error, TooOldError) else None
            return _refuse(request, status, code, str(error), details)

        app.add_exception_handler(kind, handle)

    handler(NotFoundError, 404, "not_found")
    handler(ConflictError, 409, "conflict")
    handler(TooOldError, 410, "cursor_too_old")
    handler(StoreError, 503, "unavailable")
    app.add_exception_handler(ApiError, _api)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)


def _refuse(request: Request, status: int, code: str, message: str, details: Any = None) -> Response:
    request_id = request.scope.get("restante.request_id", "")
    if status >= 400:
        log.info(
            "%s %s %s %s: %s",
            request_id,
            request.method,
            request.scope.get("route_path", request.url.path),
            status,
            code,
        )
    return refusal(request_id, status, code, message, details)


async def _api(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return _refuse(request, error.status, error.code, str(error), error.details or None)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [{"where": ".".join(map(str, each["loc"])), "message": each["msg"]} for each in error.errors()[:20]]
    message = "; ".join(f"{each['where']}: {each['message']}" for each in found[:3])
    return _refuse(request, 400, "invalid_request", message, found)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    return _refuse(request, error.status_code, code, str(error.detail))


class Guard:
    """Around all routes: a request id, a bound on bodies, a count, and the last catch."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["restante.request_id"] = request_id
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            await self._too_large(request_id)(scope, receive, send)
            return
        await self._run(request_id, scope, self._bounded(receive), send)

    def _too_large(self, request_id: str) -> Response:
        return refusal(request_id, 413, "too_large", f"a request's body has at most {BODY_LIMIT} bytes")

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def inner() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > BODY_LIMIT:
                raise ApiError(413, "too_large", f"a request's body has at most {BODY_LIMIT} bytes")
            return message

        return inner

    async def _run(self, request_id: str, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.metrics.requests.labels(f"{message['status'] // 100}xx").inc()
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except ApiError as error:
            if not started:
                await refusal(request_id, error.status, error.code, str(error))(scope, receive, sent)
        except Exception:
            log.exception("%s %s %s failed", request_id, scope["method"], scope["path"])
            if not started:
                await refusal(request_id, 500, "internal", "the server failed; its log has the request id")(
                    scope, receive, sent
                )
