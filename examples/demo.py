"""The product's story with real processes: 340 mails on Monday, a socket that dies silently in the night, and Tuesday.

A post office runs as its own process; mail comes over SMTP; the agent's WebSocket goes through a relay that one night forgets
the flow, as a NAT does: it passes nothing on any more, and tells neither end. Needs nothing but this package.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import smtplib
import subprocess
import sys
import tempfile
import time
import urllib.request

import websockets

MAILS = 340
INBOX = "support@example.test"
START = time.monotonic()
TIMELINE: list[tuple[float, str, str]] = []


def say(who: str, text: str) -> None:
    TIMELINE.append((time.monotonic() - START, who, text))
    print(f"{TIMELINE[-1][0]:6.2f} s  {who:<9} {text}", flush=True)


class Relay:
    """TCP in between. `forget` drops what comes from either side, without FIN or RST: both ends go on believing."""

    def __init__(self, port: int) -> None:
        self._port, self._forgotten = port, False
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def forget(self) -> None:
        self._forgotten = True

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near = (reader, writer)
        far = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers += [writer, far[1]]
        await asyncio.gather(self._pump(near[0], far[1]), self._pump(far[0], near[1]))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self._forgotten:
                    writer.write(data)
                    await writer.drain()

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        self._server.close()


class Api:
    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token

    def post(self, path: str, body: object) -> dict:
        request = urllib.request.Request(
            f"{self.url}{path}",
            json.dumps(body).encode(),
            {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)

    def drain(self) -> int:
        """receive and ack until nothing waits; how many mails that were."""
        handled = 0
        while items := self.post(f"/v1/inboxes/{INBOX}/receive", {"max_messages": 100})["items"]:
            handles = [item["receipt_handle"] for item in items]
            results = self.post(f"/v1/inboxes/{INBOX}/ack", {"receipt_handles": handles})["results"]
            handled += sum(result["result"] == "ok" for result in results)
        return handled


def send(port: int, day: str) -> int:
    """A day's mail; how many were answered 250."""
    accepted = 0
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        for number in range(1, MAILS + 1):
            sender = f"customer{number}@example.net"
            mail = f"From: {sender}\r\nTo: {INBOX}\r\nSubject: {day} {number}\r\nMessage-ID: <{day}.{sender}>\r\n\r\nHelp!\r\n"
            accepted += not smtp.sendmail(sender, [INBOX], mail)
    return accepted


async def listen(ws: websockets.ClientConnection, signals: list[str]) -> None:
    """An agent of the usual kind: it trusts its socket, and pings nobody."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async for text in ws:
            frame = json.loads(text)
            if frame["type"] == "signal":
                signals.append(frame["subject"])


async def until(signals: list[str], number: int, limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while len(signals) < number and time.monotonic() < end:
        await asyncio.sleep(0.02)


async def story(api_port: int, smtp_port: int, api: Api) -> int:
    relay = Relay(api_port)
    address = f"ws://127.0.0.1:{await relay.start()}/v1/ws"
    signals: list[str] = []
    headers = {"Authorization": f"Bearer {api.token}"}
    async with websockets.connect(
        address, additional_headers=headers, ping_interval=None, compression=None, close_timeout=1
    ) as ws:
        await ws.send(json.dumps({"type": "subscribe", "streams": [{"inbox": INBOX}]}))
        reader = asyncio.create_task(listen(ws, signals))
        say("agent", "opens a WebSocket, and trusts it")
        monday = await asyncio.to_thread(send, smtp_port, "Monday")
        say("senders", f"send {monday} mails on Monday; each was on disk before its 250")
        await until(signals, monday)
        say("agent", f"was told of {len(signals)} of them, and handled {await asyncio.to_thread(api.drain)}")
        relay.forget()
        say("NAT", "02:00, forgets the flow. No FIN, no RST, no error, no log line")
        told = len(signals)
        tuesday = await asyncio.to_thread(send, smtp_port, "Tuesday")
        say("senders", f"send {tuesday} mails on Tuesday")
        await asyncio.sleep(2)
        missed = tuesday - (len(signals) - told)
        say("agent", f"still sees its socket {ws.state.name}; told of {len(signals) - told} mails since the night")
        reader.cancel()
        await relay.close()
    say("agent", "comes back in the morning, and calls receive()")
    handled = await asyncio.to_thread(api.drain)
    say("post", f"hands over {handled} mails that had been kept; the agent acknowledges each")
    lost = tuesday - handled
    print(f"\n  the socket alone would have lost   {missed:>4} of {tuesday}")
    print(f"  with the post office were lost     {lost:>4} of {monday + tuesday}\n")
    return 0 if lost == 0 and missed == tuesday == MAILS and monday == MAILS else 1


def picture() -> None:
    """The timeline, to scale."""
    width, end = 60, TIMELINE[-1][0]
    for who in ("senders", "NAT", "agent", "post"):
        line = ["·"] * (width + 1)
        for moment, name, _ in TIMELINE:
            if name == who:
                line[round(moment / end * width)] = "●"
        print(f"  {who:<9}{''.join(line)}")
    print(f"  {'':<9}0 s{f'{end:.1f} s':>{width - 2}}\n")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="restante-demo-") as folder:
        command = [
            sys.executable,
            "-m",
            "restante",
            "up",
            "--data",
            folder,
            "--http",
            "127.0.0.1:0",
            "--smtp",
            "127.0.0.1:0",
        ]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            shown = "".join(iter(lambda: server.stdout.readline() if server.stdout else "", "\n")) + (
                server.stdout.readline() if server.stdout else ""
            )
            found = re.search(
                r"taken at 127\.0\.0\.1:(\d+).*127\.0\.0\.1:(\d+).*RESTANTE_TOKEN=(\S+)", shown, re.DOTALL
            )
            if not found:
                print(f"the post office did not start:\n{shown}", file=sys.stderr)
                return 1
            say("post", f"restante up, process {server.pid}: SMTP, SQLite and the API on loopback")
            api_port = int(found[2])
            result = asyncio.run(story(api_port, int(found[1]), Api(f"http://127.0.0.1:{api_port}", found[3])))
            picture()
            return result
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    sys.exit(main())
