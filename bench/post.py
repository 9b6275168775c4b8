"""The post office: durable ingestion, the signal's delay, draining a backlog, idle sockets. No root."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles

import uvloop
import websockets

from bench.measure import line
from bench.office import INBOX, Running, office

LINES = b"".join(b"%070d\r\n" % number for number in range(110))
NUMBERS = itertools.count()
SESSIONS, MAILS = 20, 6000
BACKLOG, SOCKETS = 30_000, 2000


def mail(number: int) -> bytes:
    """8 kB, no two the same."""
    head = f"From: a@example.net\r\nTo: {INBOX}\r\nSubject: mail {number}\r\nMessage-ID: <{number}.{time.time_ns()}@example.net>\r\n\r\n"
    return head.encode() + LINES


async def session(port: int, numbers: list[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    writer.write(b"LHLO bench\r\n")
    while (await reader.readline())[3:4] != b" ":
        pass
    for number in numbers:
        ident = f"XFORWARD IDENT=4B{number:x}X{time.time_ns():x}\r\n".encode()
        writer.write(ident + f"MAIL FROM:<a@example.net>\r\nRCPT TO:<{INBOX}>\r\nDATA\r\n".encode())
        for _ in range(4):
            await reader.readline()
        writer.write(mail(number) + b".\r\n")
        answer = await reader.readline()
        if not answer.startswith(b"250"):
            raise SystemExit(f"a mail was answered {answer!r}")
    writer.close()


def ingest(where: Running, mails: int = MAILS, sessions: int = SESSIONS) -> float:
    """Mails a second."""
    shares = [[next(NUMBERS) for _ in range(mails // sessions)] for _ in range(sessions)]

    async def main() -> None:
        await asyncio.gather(*(session(where.lmtp, share) for share in shares))

    start = time.perf_counter()
    uvloop.run(main())
    return mails / (time.perf_counter() - start)


class Worker:
    """Receives and acknowledges over one connection."""

    def __init__(self, where: Running) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", where.http)
        self._headers = {"Authorization": f"Bearer {where.token}", "Content-Type": "application/json"}
        self._path = f"/v1/inboxes/{INBOX}"

    def call(self, verb: str, body: object) -> dict:
        self._http.request("POST", f"{self._path}/{verb}", json.dumps(body), self._headers)
        return json.loads(self._http.getresponse().read())

    def drain(self, limit: int) -> int:
        done, batch = 0, None
        while done < limit:
            found = self.call("receive", {"max_messages": 100, **({"ack_batch": batch} if batch else {})})
            batch = found["batch"]
            if not batch:
                break
            done += len(found["items"])
        if batch:
            self.call("receive", {"max_messages": 1, "ack_batch": batch, "visibility_timeout": 1})
        return done


def drain(where: Running, workers: int, mails: int) -> float:
    """Messages a second, received and acknowledged. Each worker is a process: one would be the limit itself."""
    start = time.perf_counter()
    children = []
    for _ in range(workers):
        pid = os.fork()
        if not pid:
            Worker(where).drain(mails // workers)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    return mails / (time.perf_counter() - start)


async def delays(where: Running, mails: int = 500, rate: float = 50) -> list[float]:
    """Seconds from the 250 to the signal."""
    told: dict[str, float] = {}
    accepted: dict[str, float] = {}
    headers = {"Authorization": f"Bearer {where.token}"}
    async with websockets.connect(
        f"ws://127.0.0.1:{where.http}/v1/ws", additional_headers=headers, compression=None, ping_interval=None
    ) as ws:
        await ws.send(json.dumps({"type": "subscribe", "streams": [{"inbox": INBOX}]}))

        async def listen() -> None:
            async for text in ws:
                frame = json.loads(text)
                if frame["type"] == "signal":
                    told[frame["subject"]] = time.perf_counter()
                    if len(told) == mails:
                        return

        listener = asyncio.create_task(listen())
        for _ in range(mails):
            number = next(NUMBERS)
            begun = time.perf_counter()
            await session(where.lmtp, [number])
            accepted[f"mail {number}"] = time.perf_counter()
            await asyncio.sleep(max(0.0, 1 / rate - (time.perf_counter() - begun)))
        await asyncio.wait_for(listener, 30)
    return [max(0.0, told[name] - accepted[name]) for name in accepted]


def rss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def sockets(where: Running) -> tuple[float, float]:
    """(KiB a socket, share of a core with a heartbeat every 15 s)"""
    before = rss_kib(where.pid)
    headers = {"Authorization": f"Bearer {where.token}"}
    uri = f"ws://127.0.0.1:{where.http}/v1/ws"
    async with _many(uri, headers) as held:
        memory = (rss_kib(where.pid) - before) / len(held)
        begun, used = time.perf_counter(), cpu_s(where.pid)
        ping = json.dumps({"type": "ping", "id": 1, "ts": 0})
        for _ in range(2):
            for index, ws in enumerate(held):
                await ws.send(ping)
                if index % 100 == 0:
                    await asyncio.sleep(15 / (len(held) / 100))
        return memory, (cpu_s(where.pid) - used) / (time.perf_counter() - begun)


class _many:  # noqa: N801 - reads as what it does
    def __init__(self, uri: str, headers: dict[str, str]) -> None:
        self._uri, self._headers, self._open = uri, headers, []

    async def __aenter__(self) -> list:
        for _ in range(SOCKETS):
            ws = await websockets.connect(
                self._uri, additional_headers=self._headers, compression=None, ping_interval=None
            )
            await ws.send(json.dumps({"type": "subscribe", "streams": [{"inbox": INBOX}]}))
            self._open.append(ws)
        return self._open

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(ws.close() for ws in self._open))


def fdatasync_ms(folder: Path) -> float:
    """The median of an 8 kB write and its fdatasync on the disk that the store is on."""
    found = []
    with (folder / "sync").open("wb") as file:
        for _ in range(200):
            start = time.perf_counter()
            file.write(LINES)
            file.flush()
            os.fdatasync(file.fileno())
            found.append(time.perf_counter() - start)
    return median(found) * 1000


def main() -> None:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))  # not a file system of memory
        print(f"{'fdatasync of 8 kB, median':<58} {fdatasync_ms(folder):>13.2f} ms", flush=True)
        bare = stack.enter_context(office(folder / "bare", "none"))
        kept = stack.enter_context(office(folder / "kept", "sqlite"))
        pairs = [(ingest(bare), ingest(kept)) for _ in range(3)]
        ceiling, durable = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
        share = median(pair[1] / pair[0] for pair in pairs)
        print(f"{'LMTP without a store, 8 kB, 20 sessions':<58} {ceiling:>12.0f} /s", flush=True)
        line(f"LMTP on SQLite, each on disk: {durable:.0f}/s, against it", f"{share:.2f} x", "0.50 x", share >= 0.5)
        found = asyncio.run(delays(kept))
        middle, late = median(found) * 1000, quantiles(found, n=100)[98] * 1000
        line("from the 250 to the signal, 50/s, median", f"{middle:.1f} ms", "5 ms", middle <= 5)
        line("from the 250 to the signal, 50/s, p99", f"{late:.1f} ms", "20 ms", late <= 20)
        ingest(kept, BACKLOG)
        worker = Worker(kept)
        for name, workers in (("1 worker", 1), ("8 workers", 8)):
            speed = drain(kept, workers, BACKLOG // 2)
            line(f"draining a backlog with ack, {name}", f"{speed:.0f} /s", "3000 /s", speed >= 3000)
        worker.drain(10**9)
        memory, share = asyncio.run(sockets(kept))
        line(f"memory of an idle socket, {SOCKETS} held", f"{memory:.0f} KiB", "25 KiB", memory <= 25)
        line(
            f"CPU of {SOCKETS} sockets with a ping every 15 s, of a core",
            f"{share * 100:.1f} %",
            f"{SOCKETS / 1000:.0f} %",
            share <= SOCKETS / 100_000,
        )


if __name__ == "__main__":
    main()
