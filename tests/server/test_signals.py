"""WebSocket and event stream, on a running server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import websockets
from office import INBOX, OTHER, Office, serving, settings

from restante.server.api import context
from restante.server.push import hub, websocket
from restante.server.settings import Heartbeat, Socket
from restante.server.store import tokens
from restante.server.store.base import Arrival, NotFoundError, Scan, StoreError

Connection = websockets.ClientConnection


def connect(office: Office, work: Callable[[Connection], Awaitable[None]], **options: Any) -> None:
    async def inner() -> None:
        headers = {"Authorization": f"Bearer {office.token}"} if office.token else {}
        uri = f"ws://127.0.0.1:{office.http_port}/v1/ws"
        async with websockets.connect(
            uri, additional_headers=headers, compression=None, ping_interval=None, **options
        ) as ws:
            await work(ws)

    asyncio.run(asyncio.wait_for(inner(), 40))


async def frame(ws: Connection, wanted: str) -> dict[str, Any]:
    """The next frame, which must be of this type."""
    found: dict[str, Any] = json.loads(await ws.recv())
    assert found["type"] == wanted, found
    return found


async def subscribe(ws: Connection, *streams: dict[str, Any]) -> list[dict[str, Any]]:
    await ws.send(json.dumps({"type": "subscribe", "streams": list(streams)}))
    return list((await frame(ws, "subscribed"))["streams"])


async def closed(ws: Connection) -> int:
    """The close code, once it is closed."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await ws.recv()
    assert ws.close_code is not None
    return ws.close_code


def test_the_server_announces_the_timing_and_signals_follow_commits(office: Office) -> None:
    async def work(ws: Connection) -> None:
        hello = await frame(ws, "hello")
        assert (hello["heartbeat_interval_ms"], hello["pong_timeout_ms"], hello["missed_limit"]) == (15_000, 5_000, 2)
        [stream] = await subscribe(ws, {"inbox": INBOX})
        assert stream["recovered"]
        await asyncio.to_thread(office.send, "one", "two")
        signals = [await frame(ws, "signal") for _ in range(2)]
        assert [each["subject"] for each in signals] == ["one", "two"]
        assert signals[1]["prev"] == signals[0]["cursor"]
        found = await asyncio.to_thread(office.call, "GET", f"/v1/inboxes/{INBOX}/messages/{signals[0]['id']}")
        assert found.json["cursor"] == signals[0]["cursor"]

    connect(office, work)


def test_a_pong_carries_the_head_of_every_stream(office: Office) -> None:
    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        await subscribe(ws, {"inbox": INBOX}, {"inbox": OTHER})
        await asyncio.to_thread(office.send, "one")
        cursor = (await frame(ws, "signal"))["cursor"]
        await ws.send(
            json.dumps({"type": "ping", "id": 7, "ts": 1.5, "counters": {"reconnects": 3, "rtt_ms": "x", "made_up": 1}})
        )
        pong = await frame(ws, "pong")
        assert (pong["id"], pong["ts"], pong["heads"][INBOX]) == (7, 1.5, cursor)
        assert set(pong["heads"]) == {INBOX, OTHER}
        shown = await asyncio.to_thread(office.call, "GET", "/metrics")
        assert b'restante_agent_counter{name="reconnects"} 3.0' in shown.raw
        assert b"made_up" not in shown.raw, "a client makes no metric of its own"

    connect(office, work)


def test_a_cursor_resumes_and_one_that_cannot_is_told_so(office: Office) -> None:
    office.send("one", "two", "three")
    first = office.call("GET", f"/v1/inboxes/{INBOX}/messages?limit=1").json["next_cursor"]

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        [stream] = await subscribe(ws, {"inbox": INBOX, "cursor": first})
        assert stream["recovered"]
        assert [(await frame(ws, "signal"))["subject"] for _ in range(2)] == ["two", "three"]
        [stream] = await subscribe(ws, {"inbox": INBOX, "cursor": "00000000:1"})
        assert (stream["recovered"], stream["reason"]) == (False, "epoch_changed")

    connect(office, work)


def test_a_subscription_in_the_middle_of_traffic_is_opened_and_stays(office: Office) -> None:
    async def flood(stop: asyncio.Event) -> None:
        scan = Scan("<1@x>", "one of many", "a@example.net", automated=False, fingerprint=b"")
        while not stop.is_set():
            await office.office.post.store.ingest(Arrival(b"x", "", (INBOX,), None, scan))

    stop = asyncio.Event()
    flooding = asyncio.run_coroutine_threadsafe(flood(stop), office.loop)

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        await ws.send(json.dumps({"type": "subscribe", "streams": [{"inbox": INBOX}, {"inbox": OTHER}]}))
        types = [json.loads(await ws.recv())["type"] for _ in range(20)]
        assert "subscribed" in types

    try:
        for _ in range(20):
            connect(office, work)
    finally:
        office.loop.call_soon_threadsafe(stop.set)
        flooding.result(10)


def test_another_inbox_can_not_be_told_from_one_that_is_not_there(office: Office) -> None:
    agent = office.as_(office.make_token({INBOX: ["receive"]}))

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        answers = await subscribe(ws, {"inbox": OTHER}, {"inbox": "nobody@example.org"})
        assert [each["reason"] for each in answers] == ["not_found", "not_found"]
        await asyncio.to_thread(office.send, "secret", to=OTHER)
        await ws.send(json.dumps({"type": "ping", "id": 1, "ts": 0}))
        assert (await frame(ws, "pong"))["heads"] == {}

    connect(agent, work)


@pytest.mark.parametrize(
    "sent", ["not json", "[]", '{"type": "frobnicate"}', '{"type": "ping"}', '{"type": "subscribe", "streams": []}',
             '{"type": "subscribe", "streams": [{"inbox": 1}]}', '{"type":"ping","id":1,"ts":NaN}', "[" * 5000, b"bytes"],
)  # fmt: skip
def test_a_frame_that_is_none_of_ours_ends_the_socket_with_stop(office: Office, sent: str | bytes) -> None:
    async def work(ws: Connection) -> None:
        await ws.send(sent)
        assert await closed(ws) == 4801

    connect(office, work)


def test_too_large_and_too_many_frames_end_it_too(office: Office) -> None:
    async def large(ws: Connection) -> None:
        await ws.send("x" * (1 << 17))
        assert await closed(ws) == 1009

    async def many(ws: Connection) -> None:
        for number in range(300):
            await ws.send(json.dumps({"type": "ping", "id": number, "ts": 0}))
        assert await closed(ws) == 4802

    connect(office, large)
    connect(office, many)


def test_without_a_token_or_with_a_revoked_one_the_verdict_is_stop(office: Office) -> None:
    async def refused(ws: Connection) -> None:
        assert await closed(ws) == 4800

    connect(office.as_(""), refused)
    token = office.make_token({INBOX: ["receive"]})

    async def revoked(ws: Connection) -> None:
        await frame(ws, "hello")
        await asyncio.to_thread(office.call, "DELETE", f"/v1/tokens/{token.split('_')[1]}")
        await ws.send(json.dumps({"type": "ping", "id": 1, "ts": 0}))
        assert await closed(ws) == 4800

    connect(office.as_(token), revoked)


def test_a_ticket_opens_one_socket_and_origins_are_checked(office: Office) -> None:
    ticket = office.call("POST", "/v1/tickets", {}).json["ticket"]

    async def works(ws: Connection) -> None:
        assert ws.subprotocol == "restante.v1"
        await frame(ws, "hello")

    async def refused(ws: Connection) -> None:
        assert await closed(ws) == 4800

    offered = {"subprotocols": ["restante.v1", f"restante.ticket.{ticket}"]}
    connect(office.as_(""), works, **offered)
    connect(office.as_(""), refused, **offered)
    connect(office, refused, origin="https://elsewhere.example")


def test_a_socket_of_a_ticket_ends_too_when_its_token_is_revoked(office: Office) -> None:
    token = office.make_token({INBOX: ["receive"]})
    ticket = office.as_(token).call("POST", "/v1/tickets", {}).json["ticket"]

    async def revoked(ws: Connection) -> None:
        await frame(ws, "hello")
        await asyncio.to_thread(office.call, "DELETE", f"/v1/tokens/{token.split('_')[1]}")
        await ws.send(json.dumps({"type": "ping", "id": 1, "ts": 0}))
        assert await closed(ws) == 4800

    connect(office.as_(""), revoked, subprotocols=["restante.v1", f"restante.ticket.{ticket}"])


def test_a_revoked_token_opens_no_stream_on_a_socket_that_stands(office: Office) -> None:
    made = office.call("POST", "/v1/tokens", {"name": "x", "scopes": {"*": ["receive"]}}).json

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        await asyncio.to_thread(office.call, "DELETE", f"/v1/tokens/{made['id']}")
        await ws.send(json.dumps({"type": "subscribe", "streams": [{"inbox": INBOX}]}))
        assert await closed(ws) == 4800

    connect(office.as_(made["token"]), work)


def test_a_stream_ends_when_its_token_is_revoked(tmp_path: Path) -> None:
    with serving(settings(tmp_path, heartbeat=Heartbeat(interval_s=1))) as office:
        made = office.call("POST", "/v1/tokens", {"name": "x", "scopes": {"*": ["receive"]}}).json
        response = stream(office.as_(made["token"]), {})
        office.call("DELETE", f"/v1/tokens/{made['id']}")
        assert b"signal" not in response.read(), "it ends by itself"


def test_a_token_that_another_server_revoked_ends_its_socket_within_seconds(office: Office) -> None:
    made = office.call("POST", "/v1/tokens", {"name": "x", "scopes": {"*": ["receive"]}}).json

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        ping = json.dumps({"type": "ping", "id": 1, "ts": 0})
        await ws.send(ping)
        await frame(ws, "pong")
        # Past the API of this one, as the other's commit is.
        await asyncio.to_thread(office.run, office.office.post.store.revoke_token(made["id"]))
        with contextlib.suppress(websockets.ConnectionClosed):
            while True:
                await ws.send(ping)
                await frame(ws, "pong")
                await asyncio.sleep(0.2)
        assert ws.close_code == 4800

    connect(office.as_(made["token"]), work)


def test_a_token_whose_revocation_a_restore_took_back_opens_a_socket_again(office: Office) -> None:
    made = office.call("POST", "/v1/tokens", {"name": "x", "scopes": {"*": ["receive"]}}).json
    post = office.office.post
    found = next(each for each in office.run(post.store.tokens()) if each.id == made["id"])
    post.forget(replace(found, revoked_at=1.0))

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        await ws.send(json.dumps({"type": "ping", "id": 1, "ts": 0}))
        await frame(ws, "pong")

    connect(office.as_(made["token"]), work)


def test_a_token_that_a_restore_took_away_ends_its_socket(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise NotFoundError("there is no such token")

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        monkeypatch.setattr(context, "CHECKED_S", 0)
        monkeypatch.setattr(tokens, "get", gone)
        await ws.send(json.dumps({"type": "ping", "id": 1, "ts": 1}))
        assert await closed(ws) == 4800

    connect(office, work)


def test_a_client_that_does_not_read_is_dropped_and_harms_nobody(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "SEND_LIMIT_S", 0.5)
    subject = "s" * 900

    async def fill() -> None:
        scan = Scan("<1@x>", subject, "a@example.net", automated=False, fingerprint=b"")
        await asyncio.gather(
            *(office.office.post.store.ingest(Arrival(b"x", "", (INBOX,), None, scan)) for _ in range(12_000))
        )

    async def stalled(ws: Connection) -> None:
        await frame(ws, "hello")
        await subscribe(ws, {"inbox": INBOX})
        ws.transport.pause_reading()
        await asyncio.to_thread(office.run, fill())

        def dropped() -> bool:
            return b"restante_slow_sockets_total 1.0" in office.call("GET", "/metrics").raw

        for _ in range(200):
            if await asyncio.to_thread(dropped):
                break
            await asyncio.sleep(0.05)
        assert await asyncio.to_thread(dropped)
        assert len((await asyncio.to_thread(office.receive, max_messages=5))["items"]) == 5, "others are served"
        async with asyncio.timeout(20):
            while office.office.post.sessions.open:
                await asyncio.sleep(0.05)

    connect(office, stalled)


def test_a_client_that_falls_silent_is_dropped(tmp_path: Path) -> None:
    quick = settings(tmp_path, heartbeat=Heartbeat(interval_s=1, pong_timeout_s=1, misses=2, server_silence_s=1))
    with serving(quick) as office:

        async def work(ws: Connection) -> None:
            await frame(ws, "hello")
            assert await closed(ws) == 4001

        connect(office, work)


def test_a_stop_asks_sockets_to_move_before_it_cuts_them(tmp_path: Path) -> None:
    with serving(settings(tmp_path, socket=Socket(drain_s=2))) as office:

        async def work(ws: Connection) -> None:
            await frame(ws, "hello")
            office.loop.call_soon_threadsafe(office.office.stop)
            asked = await frame(ws, "reconnect")
            assert asked["deadline_ms"] == 2000
            assert await closed(ws) == 4000

        connect(office, work)


def stream(office: Office, headers: dict[str, str]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", office.http_port, timeout=30)
    connection.request(
        "GET", f"/v1/inboxes/{INBOX}/stream", headers={"Authorization": f"Bearer {office.token}", **headers}
    )
    return connection.getresponse()


def event(response: http.client.HTTPResponse) -> dict[str, str]:
    lines = []
    while (line := response.readline().decode().rstrip("\n")) or not lines:
        lines.append(line)
    return dict(line.split(": ", 1) for line in lines if line)


def test_the_event_stream_goes_on_from_last_event_id(office: Office) -> None:
    office.send("one", "two")
    first = office.call("GET", f"/v1/inboxes/{INBOX}/messages?limit=1").json["next_cursor"]
    response = stream(office, {"Last-Event-ID": first})
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "retry" in event(response)
    found = event(response)
    assert (found["event"], json.loads(found["data"])["subject"]) == ("signal", "two")
    office.send("three")
    assert json.loads(event(response)["data"])["subject"] == "three"
    response.close()
    stale = stream(office, {"Last-Event-ID": "00000000:1"})
    event(stale)
    found = event(stale)
    assert (found["event"], json.loads(found["data"])["reason"]) == ("reset", "epoch_changed")
    stale.close()


def test_a_heartbeat_of_the_stream_has_no_id(tmp_path: Path) -> None:
    with serving(settings(tmp_path, heartbeat=Heartbeat(interval_s=1))) as office:
        response = stream(office, {})
        event(response)
        beat = event(response)
        assert beat["event"] == "heartbeat"
        assert "id" not in beat
        response.close()


def test_a_socket_that_opens_while_the_store_is_away_is_asked_to_come_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreError("away")

    async def work(ws: Connection) -> None:
        assert await closed(ws) == 1013

    monkeypatch.setattr(type(office.office.post), "caller", away)
    connect(office, work)


def test_a_socket_holds_while_the_store_is_away_and_its_pongs_say_so(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = office.office.post.store

    async def away(*_: object, **__: object) -> None:
        raise StoreError("away")

    errors = []

    async def pong(ws: Connection, number: int) -> Any:
        await ws.send(json.dumps({"type": "ping", "id": number, "ts": 1}))
        while (found := json.loads(await ws.recv()))["type"] == "error":
            errors.append(found["code"])
        assert found["type"] == "pong"
        return found["heads"]

    async def until(ws: Connection, known: bool) -> None:
        while ((await pong(ws, 1)) is not None) != known:
            await asyncio.sleep(0.3)

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        await subscribe(ws, {"inbox": INBOX})
        with monkeypatch.context() as broken:
            broken.setattr(store, "read", away)
            await until(ws, known=False)
            while not errors:
                await until(ws, known=False)
                await asyncio.sleep(0.3)
        await until(ws, known=True)
        assert errors == ["unavailable"], "it is said once, without being asked"
        await asyncio.to_thread(office.send, "one")
        assert (await frame(ws, "signal"))["subject"] == "one"

    monkeypatch.setattr(hub, "STALE_S", 3)  # above the two seconds between polls
    connect(office, work)


def test_a_subscription_that_the_store_does_not_answer_is_to_be_tried_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise StoreError("away")

    async def work(ws: Connection) -> None:
        await frame(ws, "hello")
        monkeypatch.setattr(office.office.post.store, "head", away)
        await ws.send(json.dumps({"type": "subscribe", "streams": [{"inbox": INBOX}]}))
        assert (await frame(ws, "error"))["temporary"]
        assert await closed(ws) == 1013

    connect(office, work)
