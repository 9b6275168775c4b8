"""10,000 idle sockets on one server: memory, CPU under their heartbeats, and mail that comes meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench.delay import WARMING, after, paced
from bench.fill import fill, grant
from bench.holder import INTERVAL_S, inbox
from bench.lmtp import Client
from bench.measure import delays, line, show
from bench.office import Running, office
from bench.processes import Log, disk, process

SOCKETS, MAILS = 10_000, 1000


def rss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def core(pid: int) -> float:
    """The share of a core that it uses over two rounds of pings, after a first one: what was opened is put down by then."""
    time.sleep(INTERVAL_S)
    begun, used = time.perf_counter(), cpu_s(pid)
    time.sleep(2 * INTERVAL_S)
    return (cpu_s(pid) - used) / (time.perf_counter() - begun)


async def deliver(where: Running) -> dict[str, float]:
    """One mail for each of many inboxes; when each was answered 250."""
    client, accepted = await Client.to(where.lmtp), {}
    turn = 0
    async for number in paced(MAILS + WARMING):
        address = inbox(turn * SOCKETS // (MAILS + WARMING))
        await client.send(number, [address])
        accepted[address] = time.perf_counter()
        turn += 1
    client.close()
    return accepted


def told(log: Log, mails: int) -> dict[str, float]:
    """perf_counter is one clock for all processes of a machine."""
    found: dict[str, float] = {}
    for text in log:
        address, when = text.split()
        found[address] = float(when)
        if len(found) == mails:
            return found
    raise SystemExit(f"{len(found)} of {mails} signals came")


@contextmanager
def held(port: int, *tokens: Path) -> Iterator[Log]:
    argv = [sys.executable, "-m", "bench.holder", str(port), str(SOCKETS), *map(str, tokens)]
    with process(argv, stdout=subprocess.PIPE) as holder:
        log = Log(holder.stdout)
        log.until("held")
        yield log


def bare() -> float:
    """The share of a core of sockets behind which nothing is."""
    with process([sys.executable, "-m", "bench.bare"], stdout=subprocess.PIPE) as running:
        assert running.stdout
        with held(int(running.stdout.readline())):
            return core(running.pid)


def main() -> None:
    floor = bare()
    with disk() as folder:
        at, tokens = folder / "sqlite", folder / "tokens"
        addresses = [inbox(number) for number in range(SOCKETS)]
        fill(at, "sqlite", "", dict.fromkeys(addresses, 0))
        tokens.write_text("\n".join(grant(at, addresses)))
        with office(at) as made:
            before = rss_kib(made.pid)
            with held(made.http, tokens) as log:
                memory = (rss_kib(made.pid) - before) / SOCKETS
                line(f"memory of an idle socket, {SOCKETS} held", f"{memory:.1f} KiB", "25 KiB", memory <= 25)
                share = core(made.pid)
                what = f"CPU of {SOCKETS} sockets with a ping every {INTERVAL_S:.0f} s, of a core"
                line(what, f"{share * 100:.1f} %", "10 %", share <= 0.1)
                show("the same sockets on uvicorn and websockets with nothing behind them", f"{floor * 100:.1f} %")
                accepted = uvloop.run(deliver(made))
                late = after(accepted, told(log, len(accepted)))
                delays(f"{len(late)} mails meanwhile, 250 to the signal", late, p99_ms=250)


if __name__ == "__main__":
    main()
