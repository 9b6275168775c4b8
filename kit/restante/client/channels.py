"""What carries signals: a WebSocket, or a stream of server-sent events. Both give the frames of restante.protocol.messages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import urllib3
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from restante.client.errors import MailboxError, RefusedError, UnavailableError
from restante.client.http import BUSY, UNKNOWN, Http, proxy_of, refuse
from restante.client.settings import Settings
from restante.protocol.codes import MEANINGS, Verdict, verdict
from restante.protocol.ladder import Rung
from restante.protocol.messages import FRAME_LIMIT, SUBPROTOCOL

CLOSE_S = 2.0
READ_S = 120.0  # a stream's own limit lies beyond what liveness allows


class PathRefusedError(Exception):
    """Something on the path answered, and does not carry this channel."""


class EndedError(Exception):
    """The channel ended; `cause` is a word for the figures, `verdict` says how to go on."""

    def __init__(self, cause: str, verdict: Verdict = Verdict.resume) -> None:
        self.cause, self.verdict = cause, verdict
        super().__init__(cause)


class Channel(Protocol):
    """One connection. `asks`: it can be pinged; else it beats by itself."""

    rung: Rung
    asks: bool

    async def receive(self) -> dict[str, Any]:
        """The next frame. Raises EndedError. May be cancelled without losing one."""

    async def send(self, frame: dict[str, Any]) -> None:
        """Nothing on a channel of one direction."""

    def abandon(self) -> None:
        """Let go at once, without a word: nobody would answer."""

    async def close(self) -> None:
        """Say goodbye."""


class WebSocketChannel:
    rung, asks = Rung.websocket, True

    def __init__(self, ws: ClientConnection) -> None:
        self._ws = ws

    @classmethod
    async def open(cls, http: Http, settings: Settings) -> WebSocketChannel:
        """Raises PathRefusedError, UnavailableError."""
        try:
            ws = await connect(
                f"ws{http.url.removeprefix('http')}/v1/ws", additional_headers={"Authorization": f"Bearer {http.token}"},
                subprotocols=[SUBPROTOCOL], compression=None, ping_interval=None, open_timeout=settings.timeout_s,  # type: ignore[list-item]
                close_timeout=CLOSE_S, max_size=16 * FRAME_LIMIT, proxy=proxy_of(http.url),
            )  # fmt: skip
        except InvalidStatus as error:
            status = error.response.status_code
            if status in BUSY:
                raise UnavailableError(f"the WebSocket was answered {status}") from error
            raise PathRefusedError(f"the WebSocket was answered {status}") from error
        except InvalidHandshake as error:
            raise PathRefusedError(str(error)) from error
        except (OSError, EOFError, TimeoutError) as error:
            raise UnavailableError(f"no WebSocket to {http.url}: {error or type(error).__name__}") from error
        return cls(ws)

    async def receive(self) -> dict[str, Any]:
        try:
            return dict(json.loads(await self._ws.recv()))
        except ConnectionClosed as closed:
            raise _ended(closed) from None

    async def send(self, frame: dict[str, Any]) -> None:
        try:
            await self._ws.send(json.dumps(frame))
        except ConnectionClosed as closed:
            raise _ended(closed) from None

    def abandon(self) -> None:
        self._ws.transport.abort()

    async def close(self) -> None:
        await self._ws.close()


def _ended(closed: ConnectionClosed) -> EndedError:
    code = closed.rcvd.code if closed.rcvd else 1006
    return EndedError(f"closed {code}", verdict(code))


class StreamChannel:
    """A thread reads: urllib3 has no other way. `abandon` wakes it."""

    rung, asks = Rung.sse, False

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self._response = response
        self._loop = asyncio.get_running_loop()
        self._frames: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        threading.Thread(target=self._read, name="restante-stream", daemon=True).start()

    @classmethod
    async def open(cls, http: Http, settings: Settings, cursor: str | None) -> StreamChannel:
        """Raises PathRefusedError, UnavailableError, RefusedError."""
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": cursor} if cursor else {})}
        response = await asyncio.to_thread(http.open, "GET", f"{settings.path}/stream", read_s=READ_S, headers=headers)
        if response.status != 200:
            _refused(response.status, await asyncio.to_thread(lambda: response.data))
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            response.close()
            raise PathRefusedError(f"the stream was answered {response.status} without events")
        return cls(response)

    def _read(self) -> None:
        try:
            for frame in events(self._response.stream()):
                self._put(frame)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError):
            pass  # cut, or abandoned
        self._put(None)

    def _put(self, frame: dict[str, Any] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone
            self._loop.call_soon_threadsafe(self._frames.put_nowait, frame)

    async def receive(self) -> dict[str, Any]:
        frame = await self._frames.get()
        if frame is None:
            raise EndedError("stream ended")
        return frame

    async def send(self, frame: dict[str, Any]) -> None:
        return None

    def abandon(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._response.shutdown()

    async def close(self) -> None:
        self.abandon()


def _refused(status: int, content: bytes) -> None:
    """Raises: PathRefusedError for an answer that no post office gave."""
    try:
        refuse(status, content)
    except RefusedError as error:
        if error.code == UNKNOWN:
            raise PathRefusedError(f"the stream was {error}") from error
        raise


def events(chunks: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Server-sent events as frames: `type` is the event's name. Comments and unknown fields are passed over (WHATWG HTML, 9.2.6)."""
    fields: dict[str, str] = {}
    for line in _lines(chunks):
        if line:
            name, _, value = line.partition(":")
            if name in {"event", "data"}:
                fields[name] = f"{fields[name]}\n{value.strip()}" if name in fields else value.strip()
        elif "data" in fields:
            yield {**json.loads(fields["data"]), "type": fields.get("event", "message")}
            fields = {}
        else:
            fields = {}


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line.rstrip(b"\r").decode("utf-8", "replace") for line in whole)


def stopped(error: EndedError) -> MailboxError:
    """What a person is told after a close that means stop."""
    because = {f"closed {meaning.code}": meaning.because for meaning in MEANINGS}
    return MailboxError(
        f"the post office ended this for good ({error.cause}): {because.get(error.cause, 'a newer reason')}"
    )
