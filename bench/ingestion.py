"""How fast mail becomes durable: through Postfix until its queue is empty, and by LMTP alone."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from bench import mta, postgres
from bench.dovecot import Dovecot, dovecot
from bench.lmtp import ingest
from bench.measure import Rounds, show_disk
from bench.office import Running, office
from bench.processes import disk, lacking

MAILS, ROUNDS = 2000, 3
ALONE = 6000


def main() -> None:
    with disk() as folder, ExitStack() as stack:
        show_disk(folder)
        offices = {"no store": stack.enter_context(office(folder / "none", "none"))}
        offices["SQLite"] = stack.enter_context(office(folder / "sqlite"))
        if missing := postgres.lacking():
            print(f"left out: PostgreSQL; it needs {missing}")
        else:
            url = stack.enter_context(postgres.postgres(folder / "cluster")).database("ingestion")
            offices["PostgreSQL"] = stack.enter_context(office(folder / "postgresql", "postgresql", url))
        missing = lacking(postfix="postfix", smtp_source="postfix", dovecot="dovecot-imapd and dovecot-lmtpd")
        if missing:
            print(f"left out: Postfix and Dovecot; they need {missing}")
        peer = None if missing else stack.enter_context(dovecot(folder / "dovecot"))
        alone(offices, peer)
        if peer:
            through_postfix(folder, offices, peer)


def alone(offices: dict[str, Running], peer: Dovecot | None) -> None:
    """Postfix not counted: what the post office itself costs, parsing included."""
    work = {f"LMTP, {name}": lambda each=each: ingest(each.lmtp, each.inbox, ALONE) for name, each in offices.items()}
    if peer:
        work["LMTP, Dovecot"] = lambda: ingest(peer.lmtp, "dovecot@example.org", ALONE // 10)
    found = Rounds(work, ROUNDS)
    found.show("LMTP, no store")
    for name in [name for name in offices if name != "no store"]:
        found.against(f"LMTP, {name}", "LMTP, no store", 0.5)
        if peer:
            found.against(f"LMTP, {name}", "LMTP, Dovecot", 3)
    if peer:
        found.show("LMTP, Dovecot")


def through_postfix(folder: Path, offices: dict[str, Running], peer: Dovecot) -> None:
    routes = {each.inbox: f"lmtp:unix:{each.lmtp}" for each in offices.values()}
    routes |= {"dovecot@example.org": f"lmtp:unix:{peer.lmtp}", "discard@example.org": "discard:"}
    names = {**{name: each.inbox for name, each in offices.items()}}
    names |= {"Dovecot": "dovecot@example.org", "discard": "discard@example.org"}
    with mta.postfix(folder / "postfix", routes) as sender:
        work = {f"Postfix, {name}": lambda to=to: sender.flood(to, MAILS) for name, to in names.items()}
        found = Rounds(work, ROUNDS)
    found.show("Postfix, discard")
    found.show("Postfix, no store")
    found.show("Postfix, Dovecot")
    for name, sink, twice in (("SQLite", 0.9, 1.5), ("PostgreSQL", 0.85, 1.4)):
        if name in offices:
            found.against(f"Postfix, {name}", "Postfix, no store", sink)
            found.against(f"Postfix, {name}", "Postfix, Dovecot", twice)


if __name__ == "__main__":
    main()
