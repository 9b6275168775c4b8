"""A backend to try an edge with: WebSocket echo, server-sent events, long-poll and plain HTTP, standard library only.

    backend.py PORT | /run/NAME/FILE.sock

GET with Upgrade: websocket echoes every frame; Accept: text/event-stream gets an event and a heartbeat every 15 s;
?wait_seconds=N answers after so long (25 at most); all else is answered at once.
"""

import asyncio
import base64
import hashlib
import os
import socket
import sys
import urllib.parse

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
HEARTBEAT_S = 15
LONGEST_WAIT_S = 25
LARGEST_FRAME = 1 << 20
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


def notify(state: str) -> None:
    """sd_notify(3); does nothing outside systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)


async def watchdog() -> None:
    interval = int(os.environ.get("WATCHDOG_USEC", "0")) / 2_000_000
    while interval:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)


async def serve(reader: Reader, writer: Writer) -> None:
    try:
        while await answer(reader, writer):
            await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
        pass  # the peer is gone or speaks no HTTP: nothing is left to answer
    finally:
        writer.close()


async def answer(reader: Reader, writer: Writer) -> bool:
    """Answer one request; says whether the connection goes on."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    target = head[0].split(" ")[1]
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:] if line)}
    await reader.readexactly(int(headers.get("content-length", "0")))
    if headers.get("upgrade", "").lower() == "websocket":
        await echo(headers["sec-websocket-key"], reader, writer)
        return False
    if "text/event-stream" in headers.get("accept", ""):
        await events(writer)
        return False
    query = urllib.parse.parse_qs(urllib.parse.urlsplit(target).query)
    await asyncio.sleep(min(float(query.get("wait_seconds", ["0"])[0]), LONGEST_WAIT_S))
    body = f"{socket.gethostname()} {target}\n".encode()
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    return True


async def events(writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n")
    writer.write(b"data: hello\n\n")
    while True:
        await writer.drain()
        await asyncio.sleep(HEARTBEAT_S)
        writer.write(b"event: heartbeat\ndata: {}\n\n")


async def echo(key: str, reader: Reader, writer: Writer) -> None:
    accept = base64.b64encode(hashlib.sha1(key.encode() + GUID).digest())  # noqa: S324 - RFC 6455 asks for SHA-1
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    while True:
        await writer.drain()
        opcode, payload = await frame(reader)
        if opcode == 9:
            opcode = 10
        writer.write(bytes([0x80 | opcode]) + length(len(payload)) + payload)
        if opcode == 8:
            return


async def frame(reader: Reader) -> tuple[int, bytes]:
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size >= 126:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8), "big")
    if size > LARGEST_FRAME:
        raise ValueError("frame too large")
    mask = await reader.readexactly(4)
    data = await reader.readexactly(size)
    return first & 0x0F, bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))


def length(size: int) -> bytes:
    if size < 126:
        return bytes([size])
    return b"\x7e" + size.to_bytes(2, "big") if size < 1 << 16 else b"\x7f" + size.to_bytes(8, "big")


async def main(where: str) -> None:
    if where.startswith("/"):
        server = await asyncio.start_unix_server(serve, where)
    else:
        server = await asyncio.start_server(serve, ["0.0.0.0", "::"], int(where), backlog=4096)
    notify("READY=1")
    async with server:
        await asyncio.gather(server.serve_forever(), watchdog())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
