"""The SDK: messages handled a second with an empty handler, import time, memory and the cost of its threads. No root."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.idle import cpu_s, rss_kib
from bench.lmtp import ingest
from bench.measure import line
from bench.office import Running, office
from bench.processes import disk
from restante import AsyncMailbox, Mailbox

MAILS, IN_FLIGHT = 6000, 100
IDLE_S = 20
IMPORT = "import time; began = time.perf_counter(); from restante import Mailbox; print((time.perf_counter() - began) * 1000)"
IDLE = """
import sys
from restante import Mailbox
box = Mailbox(sys.argv[1], inbox=sys.argv[2], token=sys.argv[3])
for delivery in box.consume():
    with delivery:
        pass
"""


def where(running: Running) -> dict[str, str]:
    return {"url": f"http://127.0.0.1:{running.http}", "inbox": running.inbox, "token": running.token}


def handled(running: Running) -> float:
    """Messages a second, sync."""
    began, count = time.perf_counter(), 0
    with Mailbox(**where(running), max_in_flight=IN_FLIGHT) as box:
        for delivery in box.consume():
            with delivery:
                count += 1
            if count == MAILS:
                box.stop()
    return MAILS / (time.perf_counter() - began)


async def handled_async(running: Running) -> float:
    began, count = time.perf_counter(), 0
    async with AsyncMailbox(**where(running), max_in_flight=IN_FLIGHT) as box:
        async for delivery in box.consume():
            async with delivery:
                count += 1
            if count == MAILS:
                box.stop()
    return MAILS / (time.perf_counter() - began)


def import_ms() -> float:
    return median(
        float(subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, check=True).stdout) for _ in range(9)
    )


def idle(running: Running) -> tuple[float, float]:
    """(MiB of an agent that waits, share of a core)"""
    argv = [sys.executable, "-c", IDLE, *where(running).values()]
    with subprocess.Popen(argv) as agent:
        try:
            deadline = time.monotonic() + 10
            while len(list(Path(f"/proc/{agent.pid}/task").iterdir())) < 3 and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(2)  # imports and the first connection are not what is measured
            used = cpu_s(agent.pid)
            time.sleep(IDLE_S)
            return rss_kib(agent.pid) / 1024, (cpu_s(agent.pid) - used) / IDLE_S
        finally:
            agent.terminate()


def main() -> None:
    with ExitStack() as stack:
        running = stack.enter_context(office(stack.enter_context(disk()) / "sdk"))
        sync, concurrent = [], []
        for _ in range(3):
            ingest(running.lmtp, running.inbox, MAILS)
            sync.append(handled(running))
            ingest(running.lmtp, running.inbox, MAILS)
            concurrent.append(asyncio.run(handled_async(running)))
        speed, speed_async = median(sync), median(concurrent)
        line("handled by consume(), empty handler", f"{speed:.0f} /s", "1500 /s", speed >= 1500)
        line("the same with AsyncMailbox", f"{speed_async:.0f} /s", "3000 /s", speed_async >= 3000)
        took = import_ms()
        line("importing Mailbox, median", f"{took:.0f} ms", "150 ms", took <= 150)
        memory, share = idle(running)
        print(f"{'memory of an agent that waits':<58} {memory:>12.0f} MiB")
        print(f"{'CPU of its threads while it waits, of a core':<58} {share * 100:>14.2f} %")


if __name__ == "__main__":
    main()
