"""Every refusal has one shape: {"error": {code, message, request_id, details}}; none shows a traceback or a mail."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restante.server.api.context import CALLER, ApiError
from restante.server.metrics import Metrics
from restante.server.store.base import ConflictError, NotFoundError, StoreError, TooOldError

log = logging.getLogger("restante.http")
FAILED = "the server failed; its log has the request id"
BODY_LIMIT = 1 << 20
DISCARD_LIMIT = 16 << 20
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
    app.add_exception_handler(Exception, _failed)
    app.add_exception_handler(ApiError, _api)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(AnyHTTPException, _http)


def _refuse(request: Request, status: int, code: str, message: str, details: Any = None) -> Response:
    request_id = request.scope.get("restante.request_id", "")
    who = request.scope.get(CALLER) or request.headers.get("x-forwarded-for") or "no token"
    log.info(
        "%s %s %s by %s: %s %s, %s", request_id, request.method, request.url.path, who, status, code, message[:300]
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
    assert isinstance(error, AnyHTTPException)
    code = _CODES.get(error.status_code, "refused")
    return _refuse(request, error.status_code, code, str(error.detail))


async def _failed(request: Request, _: Exception) -> Response:
    """Starlette raises the error again once this is answered: the guard logs it."""
    return refusal(request.scope.get("restante.request_id", ""), 500, "internal", FAILED)


class Guard:
    """Around all routes: a request id, a bound on bodies, a count, and the last catch."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"x-request-id", b"")
        request_id = given.decode() if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope["restante.request_id"] = request_id
        answered = _Answered(send, request_id, self.metrics)
        if "\0" in scope["path"]:  # no name has one, and PostgreSQL takes none
            await answered.refuse(scope, receive, 400, "invalid_request", "an address has no NUL in it")
            return
        try:
            await self.app(scope, _Bounded(receive), answered)
        except Exception:
            log.exception("%s %s %s failed", request_id, scope["method"], scope["path"])
            await answered.refuse(scope, receive, 500, "internal", FAILED)


class _Bounded:
    """A body that is too large is read on for a while, so that its sender reads the refusal and not a reset."""

    def __init__(self, receive: Receive) -> None:
        self._receive, self._seen = receive, 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._seen += len(message.get("body", b""))
        if self._seen <= BODY_LIMIT:
            return message
        while message.get("more_body") and self._seen < DISCARD_LIMIT:
            message = await self._receive()
            self._seen += len(message.get("body", b""))
        # FastAPI passes on no other exception from a body that it reads.
        raise HTTPException(413, f"a request's body has at most {BODY_LIMIT} bytes")


class _Answered:
    """Counts the answer, and names the request in it."""

    def __init__(self, send: Send, request_id: str, metrics: Metrics) -> None:
        self._send, self._request_id, self._metrics, self._started = send, request_id, metrics, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            self._metrics.requests.labels(f"{message['status'] // 100}xx").inc()
            message["headers"] = [*message["headers"], (b"x-request-id", self._request_id.encode())]
        await self._send(message)

    async def refuse(self, scope: Scope, receive: Receive, status: int, code: str, text: str) -> None:
        if not self._started:
            await refusal(self._request_id, status, code, text)(scope, receive, self)
