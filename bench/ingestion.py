"""How fast mail becomes durable: by LMTP alone, and through Postfix until its queue is empty."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bench import mta, postgres
from bench.dovecot import Dovecot, dovecot
from bench.lmtp import ingest
from bench.measure import Rounds, show_disk
from bench.office import Running, office
from bench.processes import disk, lacking

MAILS, ALONE, ROUNDS = 1200, 6000, 5
SINK, PEER, NOTHING = "no store", "dovecot@example.org", "discard@example.org"
GOALS = {"SQLite": (0.90, 1.5), "PostgreSQL": (0.85, 1.4)}  # of what Postfix does into the sink, and into Dovecot


def main() -> None:
    with disk() as folder, ExitStack() as stack:
        show_disk(folder)
        offices = {SINK: stack.enter_context(office(folder / "none", "none"))}
        offices["SQLite"] = stack.enter_context(office(folder / "sqlite"))
        if missing := postgres.lacking():
            print(f"left out: PostgreSQL; it needs {missing}")
        else:
            url = stack.enter_context(postgres.postgres(folder / "cluster")).database("ingestion")
            offices["PostgreSQL"] = stack.enter_context(office(folder / "postgresql", "postgresql", url))
        if missing := lacking(dovecot="dovecot-imapd and dovecot-lmtpd") or mta.lacking():
            print(f"left out: Postfix and Dovecot; they need {missing}")
            alone(offices, None)
        else:
            peer = stack.enter_context(dovecot(folder / "dovecot"))
            alone(offices, peer)
            through_postfix(folder, offices, peer)


def alone(offices: dict[str, Running], peer: Dovecot | None) -> None:
    """What the post office itself costs, parsing included."""
    work = {f"LMTP, {name}": partial(ingest, each.lmtp, each.inbox, ALONE) for name, each in offices.items()}
    if peer:
        work["LMTP, Dovecot"] = partial(ingest, peer.lmtp, PEER, ALONE // 10)
    found = Rounds(work, ROUNDS)
    for name in (f"LMTP, {SINK}", *(["LMTP, Dovecot"] if peer else [])):
        found.show(name)
    for name in filter(offices.get, GOALS):
        found.against(f"LMTP, {name}", f"LMTP, {SINK}", 0.5)
        if peer:
            found.against(f"LMTP, {name}", "LMTP, Dovecot", 3)


def through_postfix(folder: Path, offices: dict[str, Running], peer: Dovecot) -> None:
    inboxes = {name: each.inbox for name, each in offices.items()} | {"Dovecot": PEER, "discard": NOTHING}
    routes = {each.inbox: f"lmtp:unix:{each.lmtp}" for each in offices.values()}
    routes |= {PEER: f"lmtp:unix:{peer.lmtp}", NOTHING: "discard:"}
    with mta.postfix(folder / "postfix", routes) as sender:
        work = {f"Postfix, {name}": partial(sender.flood, inbox, MAILS) for name, inbox in inboxes.items()}
        found = Rounds(work, ROUNDS)
    for name in ("discard", SINK, "Dovecot"):
        found.show(f"Postfix, {name}")
    for name in filter(offices.get, GOALS):
        found.against(f"Postfix, {name}", f"Postfix, {SINK}", GOALS[name][0])
        found.against(f"Postfix, {name}", "Postfix, Dovecot", GOALS[name][1])


if __name__ == "__main__":
    main()
