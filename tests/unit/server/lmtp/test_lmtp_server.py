"""The edge: sockets, waiting for verdicts, leaving."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from restante.server.lmtp.server import Deliver, LmtpServer
from restante.server.store.base import Arrival, Verdict

Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]
MAIL = b"XFORWARD IDENT=4bQ1\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\nSubject: s\r\n\r\nText.\r\n.\r\n"
SMALL = 1000


async def stored(arrival: Arrival) -> Sequence[Verdict]:
    return [Verdict.stored] * len(arrival.recipients)


def serve(
    where: Path,
    talk: Callable[[LmtpServer, Client], Awaitable[None]],
    deliver: Deliver = stored,
    idle_s: float = 300,
    limit: int = SMALL,
) -> None:
    async def main() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(where / "lmtp"))
            server = LmtpServer(deliver, host="mx.example.org", size_limit=limit, idle_s=idle_s)
            await server.start(sock)
            client = await asyncio.open_unix_connection(str(where / "lmtp"), limit=1 << 24)
            client[1].write(b"LHLO mx\r\n")
            await client[0].readuntil(b"250 XFORWARD")
            await client[0].readline()
            await asyncio.wait_for(talk(server, client), 20)
            client[1].close()
            server.close()

    asyncio.run(main())


async def last(client: Client, count: int) -> list[bytes]:
    return [await client[0].readline() for _ in range(count)][-2:]


def test_each_recipient_is_answered_when_deliver_has_returned(tmp_path: Path) -> None:
    arrivals: list[Arrival] = []
    may = asyncio.Event()

    async def deliver(arrival: Arrival) -> Sequence[Verdict]:
        arrivals.append(arrival)
        await may.wait()
        return [Verdict.stored, Verdict.over_quota]

    async def talk(server: LmtpServer, client: Client) -> None:
        client[1].write(MAIL)
        await last(client, 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client[0].readline(), 0.05)
        may.set()
        assert [line[:9] for line in await last(client, 2)] == [b"250 2.0.0", b"452 4.2.2"]

    serve(tmp_path, talk, deliver)
    assert arrivals[0].hop == "mx.example.org/4bQ1"
    assert (arrivals[0].envelope_from, arrivals[0].recipients) == ("a@x", ("b@y", "c@y"))
    assert arrivals[0].raw == b"Subject: s\r\n\r\nText.\r\n"
    assert arrivals[0].scan.subject == "s"


def test_a_deliver_that_fails_is_451_for_all_and_told_once_without_the_mail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def deliver(arrival: Arrival) -> Sequence[Verdict]:
        raise ValueError(f"bad row {arrival.raw!r}")

    async def talk(server: LmtpServer, client: Client) -> None:
        client[1].write(MAIL)
        assert [line[:9] for line in await last(client, 7)] == [b"451 4.3.0"] * 2

    with caplog.at_level(logging.INFO):
        serve(tmp_path, talk, deliver)
    assert len(caplog.records) == 1
    assert "mx.example.org/4bQ1" in caplog.text
    assert "ValueError" in caplog.text
    assert "Text." not in caplog.text


def test_what_is_pipelined_waits_and_memory_is_bounded_meanwhile(tmp_path: Path) -> None:
    may, count = asyncio.Event(), 2000

    async def deliver(arrival: Arrival) -> Sequence[Verdict]:
        await may.wait()
        return await stored(arrival)

    async def talk(server: LmtpServer, client: Client) -> None:
        client[1].write(MAIL.replace(b"Text.", b"x" * 900) * count)
        await asyncio.sleep(0.2)
        (connection,) = server._open
        assert len(connection._session._input) < 1 << 20
        may.set()
        replies = [await client[0].readline() for _ in range(7 * count)]
        assert [line[:3] for line in replies[-2:]] == [b"250", b"250"]
        assert sum(line.startswith(b"250 2.0.0 Stored") for line in replies) == 2 * count

    serve(tmp_path, talk, deliver)


def test_a_client_that_reads_no_replies_is_read_no_more(tmp_path: Path) -> None:
    async def talk(server: LmtpServer, client: Client) -> None:
        client[1].transport.pause_reading()
        client[1].write(b"NOOP\r\n" * 2_000_000)
        await asyncio.sleep(0.5)
        (connection,) = server._open
        assert connection._transport.get_write_buffer_size() < 4 << 20
        client[1].transport.abort()

    serve(tmp_path, talk)


def test_a_silent_client_is_left(tmp_path: Path) -> None:
    async def talk(server: LmtpServer, client: Client) -> None:
        assert (await client[0].read()).startswith(b"421 4.4.2")
        await asyncio.sleep(0.01)
        assert server.connections == 0

    serve(tmp_path, talk, idle_s=0.1)


def test_a_slow_delivery_is_no_silence(tmp_path: Path) -> None:
    async def deliver(arrival: Arrival) -> Sequence[Verdict]:
        await asyncio.sleep(0.4)
        return await stored(arrival)

    async def talk(server: LmtpServer, client: Client) -> None:
        client[1].write(MAIL)
        assert [line[:9] for line in await last(client, 7)] == [b"250 2.0.0"] * 2

    serve(tmp_path, talk, deliver, idle_s=0.1)


def test_a_drain_leaves_the_idle_at_once_and_the_busy_after_their_mail(tmp_path: Path) -> None:
    may = asyncio.Event()

    async def deliver(arrival: Arrival) -> Sequence[Verdict]:
        await may.wait()
        return await stored(arrival)

    async def talk(server: LmtpServer, client: Client) -> None:
        idle = await asyncio.open_unix_connection(str(tmp_path / "lmtp"))
        await idle[0].readline()
        client[1].write(MAIL)
        await last(client, 5)
        drained = asyncio.create_task(server.drain(5))
        assert (await idle[0].read()).startswith(b"421 4.3.2")
        assert server.connections == 1
        may.set()
        assert [line[:9] for line in await last(client, 2)] == [b"250 2.0.0"] * 2
        assert (await client[0].read()).startswith(b"421 4.3.2"), "without a command first"
        await drained
        assert server.connections == 0
        assert (tmp_path / "lmtp").exists(), "the socket is systemd's"

    serve(tmp_path, talk, deliver)


def test_a_drain_ends_at_its_limit(tmp_path: Path) -> None:
    async def deliver(arrival: Arrival) -> Sequence[Verdict]:
        await asyncio.sleep(60)
        return []

    async def talk(server: LmtpServer, client: Client) -> None:
        client[1].write(MAIL)
        await last(client, 5)
        await server.drain(0.1)
        await asyncio.sleep(0.01)
        assert server.connections == 0

    serve(tmp_path, talk, deliver)


def test_a_client_that_hangs_up_does_not_undo_a_delivery(tmp_path: Path) -> None:
    done: list[str | None] = []

    async def deliver(arrival: Arrival) -> Sequence[Verdict]:
        await asyncio.sleep(0.1)
        done.append(arrival.hop)
        return await stored(arrival)

    async def talk(server: LmtpServer, client: Client) -> None:
        client[1].write(MAIL * 2)
        await last(client, 5)
        client[1].transport.abort()
        await asyncio.sleep(0.4)

    serve(tmp_path, talk, deliver)
    assert done == ["mx.example.org/4bQ1"]


def test_a_mail_of_25_mib_costs_a_second_at_most(tmp_path: Path) -> None:
    size = 25 << 20

    async def talk(server: LmtpServer, client: Client) -> None:
        begin = time.process_time()
        client[1].write(MAIL.replace(b"Text.", (b"x" * 76 + b"\r\n") * (size // 78)))
        assert [line[:9] for line in await last(client, 7)] == [b"250 2.0.0"] * 2
        assert time.process_time() - begin < 1

    serve(tmp_path, talk, limit=size + 100)
