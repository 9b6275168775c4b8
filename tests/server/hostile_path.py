"""A path between agent and post office that can be made hostile: silent, one-way, slow, cut, or an old proxy."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass, field


@dataclass
class Path:
    """Every byte passes `HostilePath`, which asks this. `silent`: "", "both", "up" or "down"; bytes vanish, and no end is told."""

    silent: str = ""
    delay_s: float = 0.0
    refuse: tuple[str, ...] = ()
    """Request lines with these words are answered 403, as a proxy does that knows no Upgrade."""
    connections: list[asyncio.Transport] = field(default_factory=list)


class HostilePath:
    """Listens on loopback, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.path = Path()
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, daemon=True)
        self._ready = threading.Event()

    def _main(self) -> None:
        async def serve() -> None:
            server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            self._stop = asyncio.Event()
            self._ready.set()
            await self._stop.wait()
            server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(serve())

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = self.path
        path.connections.append(writer.transport)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._target)
            path.connections.append(up_writer.transport)
            await asyncio.gather(
                self._pump(path, reader, up_writer, "up", writer), self._pump(path, up_reader, writer, "down", writer)
            )
        except OSError:
            pass

    async def _pump(
        self,
        path: Path,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        way: str,
        agent: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if path.silent in {"both", way}:
                    continue
                if way == "up" and any(word.encode() in data.partition(b"\r\n")[0] for word in path.refuse):
                    agent.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    break
                if path.delay_s:
                    await asyncio.sleep(path.delay_s)
                writer.write(data)
                await writer.drain()
        if path.silent not in {"both", way}:
            writer.close()
            agent.close()

    def heal(self) -> None:
        """New connections pass; those that were silenced stay so: a NAT does not learn a flow again."""
        self.path = Path()

    def reset(self) -> None:
        """Every connection is cut with an RST."""
        self._loop.call_soon_threadsafe(lambda: [each.abort() for each in self.path.connections])

    def __enter__(self) -> HostilePath:
        self._thread.start()
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
