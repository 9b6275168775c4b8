"""A backlog that is drained, beside Dovecot's fetch and flag; and whether receive takes longer from a full inbox."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import postgres
from bench.dovecot import Dovecot, dovecot
from bench.fill import fill
from bench.mails import LINES, NUMBERS, mail
from bench.measure import Rounds, line, show, show_disk, timed
from bench.office import Running, inbox_of, office
from bench.processes import disk, lacking
from bench.worker import Worker, drain_imap, together

BACKLOG, THEIRS = 100_000, 10_000
FEW, MANY = "few@example.org", "many@example.org"
COUNTS = {FEW: 1000, MANY: 1_000_000}
CALLS, ROUNDS = 15, 5  # fewer than the thousand
PEER = "dovecot@example.org"


def main() -> None:
    with disk() as folder, ExitStack() as stack:
        show_disk(folder)
        engines = {"SQLite": (folder / "sqlite", "sqlite", "")}
        if missing := postgres.lacking():
            print(f"left out: PostgreSQL; it needs {missing}")
        else:
            url = stack.enter_context(postgres.postgres(folder / "cluster")).database("backlog")
            engines["PostgreSQL"] = (folder / "postgresql", "postgresql", url)
        for name, (at, engine, url) in engines.items():
            fill(at, engine, url, {inbox_of(at): BACKLOG}, LINES)
            fill(at, engine, url, COUNTS)
            with office(at, engine, url) as made:
                flat(name, made)
                for workers in (1, 8):
                    drained(name, made, workers)
        if missing := lacking(dovecot="dovecot-imapd and dovecot-lmtpd"):
            print(f"left out: Dovecot; it needs {missing}")
        else:
            with dovecot(folder / "dovecot") as peer:
                fetched(peer)


def drained(name: str, made: Running, workers: int) -> None:
    """Half of the backlog for each number of workers."""
    share = BACKLOG // 2 // workers
    speed = together([lambda: Worker(made, made.inbox).drain(share)] * workers)
    what = f"{name}, draining 8 kB mails with ack, {workers} worker{'s' * (workers > 1)}"
    line(what, f"{speed:.0f} /s", "3000 /s", speed >= 3000)


def flat(name: str, made: Running) -> None:
    """Ten at a time, acknowledged, from an inbox that holds a thousand and from one that holds a million."""
    workers = {address: Worker(made, address) for address in COUNTS}

    def speed(worker: Worker) -> float:
        with timed() as clock:
            done = worker.drain(CALLS * 10, 10)
        return done / 10 / clock.seconds

    found = Rounds({address: partial(speed, worker) for address, worker in workers.items()}, ROUNDS)
    longer = 1 / found.ratio(MANY, FEW)
    what = f"{name}, receive from a million: {1000 / found.speed(MANY):.1f} ms, a thousand"
    line(what, f"{longer:.2f} x", "1.20 x", longer <= 1.2)


def fetched(peer: Dovecot) -> None:
    """Each speed on mails of its own, as the flags of the first are set."""
    _fill(peer.maildir(PEER))
    drain_imap(peer.imap, PEER, 1, 1)  # it indexes what it did not deliver itself
    for clients in (1, 4):
        share = THEIRS // 2 // clients
        starts = [1 + (clients > 1) * THEIRS // 2 + turn * share for turn in range(clients)]
        work: list[Callable[[], int]] = [partial(drain_imap, peer.imap, PEER, at, at + share - 1) for at in starts]
        show(f"Dovecot, fetch and flag by IMAP, {clients} client{'s' * (clients > 1)}", f"{together(work):.0f} /s")


def _fill(maildir: Path) -> None:
    for folder in (maildir / "cur", maildir / "new", maildir / "tmp"):
        folder.mkdir(parents=True)
    for number in range(THEIRS):
        (maildir / "cur" / f"{number:06d}.bench:2,").write_bytes(mail(next(NUMBERS), PEER))
    owner = pwd.getpwnam("nobody")
    for path in (maildir.parent, maildir, *maildir.rglob("*")):
        os.chown(path, owner.pw_uid, owner.pw_gid)


if __name__ == "__main__":
    main()
