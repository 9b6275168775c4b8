"""The smaller parts of the server: its clock, Postfix's map, the alerts, the ledger's reading of a log, names and handles."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from office import INBOX, serving, settings

from restante.cli.mailbox.ledger import read_log, unexplained
from restante.errors import InputError
from restante.protocol import codes
from restante.protocol.heartbeat import Timing
from restante.protocol.position import Cursor
from restante.server import alerts
from restante.server.alerts import Watch
from restante.server.app import PostOffice
from restante.server.handles import Signer, message_id, read_message_id
from restante.server.recipients import FULL, NO_SPACE, UNREAD, Recipients
from restante.server.settings import Backup, Postfix, load
from restante.server.store.base import Handle
from restante.server.store.clock import Clock
from restante.server.store.statements import for_psycopg, named


def test_the_clock_follows_forward_steps_and_never_goes_back() -> None:
    wall, ticks = [1000.0], [0.0]
    clock = Clock(lambda: wall[0], lambda: ticks[0])
    wall[0], ticks[0] = 1001.0, 1.0
    assert clock.now() == 1001
    wall[0], ticks[0] = 1002.0 - 3600, 2.0
    assert clock.now() == 1002, "an hour back: it goes on by its own ticks"
    wall[0], ticks[0] = 5000.0, 3.0
    assert clock.now() == 5000
    clock.not_before(6000)
    assert clock.now() == 6000
    wall[0], ticks[0] = 6030.0, 30.0
    clock.not_before(6030)
    assert clock.now() == 6030, "what passed since it was last asked is in that moment already"


def answers(path: Path) -> tuple[dict[str, str], list[tuple[str]]]:
    with sqlite3.connect(path) as connection:
        return dict(connection.execute("SELECT address, reply FROM recipient")), list(
            connection.execute("SELECT reply FROM state")
        )


def test_postfix_is_told_of_inboxes_their_quota_and_the_space(tmp_path: Path) -> None:
    known = Recipients(tmp_path / "map" / "recipients.sqlite")
    assert known.update([("a@x", 5, None), ("b@x", 5, 5)], 10, full=False) == 2
    assert answers(known.path) == ({"a@x": "OK", "b@x": FULL}, [])
    assert known.update([("a@x", 6, None), ("b@x", 5, 5)], 10, full=False) == 0, (
        "nothing that Postfix would answer otherwise"
    )
    known.update([("b@x", 4, 5)], 10, full=True)
    assert answers(known.path) == ({"b@x": "OK"}, [(NO_SPACE,)])
    assert known.path.stat().st_mode & 0o777 == 0o644


def test_until_the_store_was_read_once_postfix_puts_all_mail_off(tmp_path: Path) -> None:
    known = Recipients(tmp_path / "map" / "recipients.sqlite")
    known.begin()
    assert answers(known.path) == ({}, [(UNREAD,)])
    known.update([("a@x", 5, None)], 10, full=False)
    assert answers(known.path) == ({"a@x": "OK"}, [])
    known.begin()
    assert answers(known.path) == ({"a@x": "OK"}, []), "a restart while the store is away answers what was known"


def test_a_condition_is_told_once_when_it_begins_and_once_when_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "OLDEST_S", -1)
    told = tmp_path / "told"
    program = tmp_path / "alert"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >> {told}\n')
    program.chmod(0o755)
    with serving(settings(tmp_path / "data")) as office:
        watch = Watch(office.office.post, 0, str(program))
        office.send("one")
        monkeypatch.setattr(alerts, "OLDEST_S", 0)
        office.run(asyncio.sleep(0.01))
        office.run(watch.look())
        office.run(watch.look())
        assert told.read_text().count(f"1 messages wait in {INBOX}") == 1
        office.ack(office.receive()["items"][0]["receipt_handle"])
        office.run(watch.look())
        assert "over: 1 messages wait" in told.read_text()


def test_a_condition_that_could_not_be_told_is_told_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "OLDEST_S", 0)
    told, mended = tmp_path / "told", tmp_path / "mended"
    program = tmp_path / "alert"
    program.write_text(f'#!/bin/sh\necho "$2" >> {told}\n[ -e {mended} ]\n')
    program.chmod(0o755)
    with serving(settings(tmp_path / "data")) as office:
        watch = Watch(office.office.post, 0, str(program))
        office.send("one")
        office.run(asyncio.sleep(0.01))
        office.run(watch.look())
        assert not watch.told
        mended.touch()
        for _ in range(2):
            office.run(watch.look())
        assert told.read_text() == "oldest\noldest\n"


def test_mail_that_grows_old_in_postfix_s_queue_is_told_and_a_queue_that_nobody_looks_at_too(tmp_path: Path) -> None:
    recipients = tmp_path / "recipients.sqlite"
    with serving(settings(tmp_path / "data", postfix=Postfix(recipients=recipients))) as office:
        watch = Watch(office.office.post, 0)

        def looked(ago_s: float, oldest_s: float) -> None:
            reading = {"at": time.time() - ago_s, "queues": {"deferred": 3}, "oldest_at": time.time() - oldest_s}
            recipients.with_name("queue.json").write_text(json.dumps(reading))
            office.run(watch.look())

        looked(ago_s=10, oldest_s=60)
        assert not watch.told
        looked(ago_s=10, oldest_s=1800)
        assert watch.told == {"mta-queue": "3 mails wait in Postfix's queue, the oldest for 30 minutes"}
        looked(ago_s=10, oldest_s=60)
        assert not watch.told
        looked(ago_s=3600, oldest_s=1800)
        assert "nobody has looked at Postfix's queue for 60 minutes" in watch.told["mta-queue"]


def test_what_sockets_show_of_their_paths_is_told_without_prometheus(tmp_path: Path) -> None:
    with serving(settings(tmp_path / "data")) as office:
        post = office.office.post
        watch = Watch(post, 0)
        office.run(watch.look())
        assert not watch.told
        post.metrics.slow.inc(31)
        post.metrics.closes.labels("4001").inc(3)
        for _ in range(99):
            post.metrics.signal_delay.observe(0.001)
        for _ in range(2):
            post.metrics.signal_delay.observe(2)
        office.run(watch.look())
        assert watch.told == {
            "slow-sockets": "31 clients that do not read were dropped within ten minutes",
            "clients-silent": "3 clients fell silent within ten minutes, of 0 connected now",
            "signals-slow": "2 of 101 signals came over a second after their commit",
        }


def test_a_part_that_ends_takes_the_server_with_it(tmp_path: Path) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("nobody expected this")

    async def ended() -> None:
        office = PostOffice(settings(tmp_path), {"http": [socket.create_server(("127.0.0.1", 0))]})
        office.post.store.moved = broken  # type: ignore[method-assign, assignment]
        with pytest.raises(RuntimeError, match="nobody expected this"):
            await asyncio.wait_for(office.run(), 30)

    asyncio.run(ended())


def test_a_backup_that_is_late_is_told_and_a_new_host_has_time_for_its_first(tmp_path: Path) -> None:
    told = []
    with serving(settings(tmp_path / "data", backup=Backup(stale_after_s=7200))) as office:
        watch = Watch(office.office.post, 0)
        office.run(watch.look())
        told.append(dict(watch.told))
        watch.began -= 7201
        office.run(watch.look())
        told.append(dict(watch.told))
        made = Path(office.call("POST", "/v1/backups", {}).json["directory"])
        office.run(watch.look())
        told.append(dict(watch.told))
        assert "restante_backup_stale_after_seconds 7200.0" in office.call("GET", "/metrics").raw.decode()
        (described,) = made.glob("*.json")
        described.write_text(
            re.sub(r'"made_at": [0-9.]+', f'"made_at": {time.time() - 3 * 3600}', described.read_text())
        )
        office.run(watch.look())
        told.append(dict(watch.told))
    due = f"{tmp_path}/data/backups, where a backup is due at least every 2 hours"
    assert told == [{}, {"backup": f"there is none in {due}"}, {}, {"backup": f"the newest is 3 hours old in {due}"}]


LOG = """
1764384000.10 mx postfix/qmgr[1]: 4dFzKb2QYMz9vXw: from=<a@example.net>, size=500, nrcpt=2 (queue active)
1764384000.11 mx postfix/lmtp[2]: 4dFzKb2QYMz9vXw: to=<x@example.org>, relay=r[lmtp.sock], dsn=2.0.0, status=sent (250 2.0.0 Stored)
1764384000.12 mx postfix/lmtp[2]: 4dFzKb2QYMz9vXw: to=<y@example.org>, relay=r[lmtp.sock], dsn=2.0.0, status=sent (250 2.0.0 Stored)
1764384000.13 mx postfix/qmgr[1]: 4dFzKb2QYMz9vXw: removed
1764384000.14 mx postfix/qmgr[1]: 4dFzKc0ttNz9vXx: from=<>, size=500, nrcpt=1 (queue active)
1764384000.15 mx postfix/lmtp[2]: 4dFzKc0ttNz9vXx: to=<x@example.org>, relay=r, delay=9, dsn=4.3.0, status=deferred (451 4.3.0 the store)
"""


def test_the_ledger_explains_what_is_stored_and_what_waits() -> None:
    mta = read_log(LOG.strip().splitlines())
    mta.queued = {"4dFzKc0ttNz9vXx"}
    assert list(unexplained(mta, set())) == []


def test_the_ledger_names_what_nothing_explains() -> None:
    mta = read_log(LOG.strip().splitlines())
    assert list(unexplained(mta, {"4dFzKb2QYMz9vXw"})) == [
        "4dFzKb2QYMz9vXw: Postfix was told 250, and no commit holds it",
        "4dFzKc0ttNz9vXx: neither in the queue nor handed over",
    ]
    lost = [line for line in LOG.strip().splitlines() if "to=<y@" not in line]
    assert "removed from the queue with 1 of 2 recipients handed over" in next(unexplained(read_log(lost), set()))


def test_the_ledger_judges_nothing_that_nobody_could_know_any_more() -> None:
    mta = read_log(LOG.strip().splitlines(), since=1764384001)
    assert (mta.taken, mta.too_old) == ({}, 2)
    assert list(unexplained(mta, set())) == []


def test_a_handle_opens_only_with_the_key_that_signed_it_and_only_as_what_it_is() -> None:
    ours, theirs = Signer(b"a" * 32), Signer(b"b" * 32)
    text = ours.handle(Handle(1, 2, 3), "epoch")
    assert ours.read_handle(text, "epoch") == Handle(1, 2, 3)
    assert ours.read_handle(text, "after") is None
    assert theirs.read_handle(text, "epoch") is None
    assert ours.read_batch(text, "epoch") is None
    assert ours.read_ticket(text) is None
    assert read_message_id(message_id(7, 1 << 40, 1.5)) == (7, 1 << 40)
    assert message_id(7, 9, 3.0) < message_id(7, 10, 2.0) < message_id(7, 1 << 40, 1.0)
    assert message_id(7, 9, 3.0) != message_id(7, 9, 3.001)


def test_the_range_of_a_close_code_says_what_to_do() -> None:
    ranges = ((4000, 4499, codes.Verdict.resume), (4500, 4799, codes.Verdict.afresh), (4800, 4999, codes.Verdict.stop))
    for low, high, verdict in ranges:
        assert {meaning.verdict for meaning in codes.MEANINGS if low <= meaning.code <= high} == {verdict}
    assert codes.verdict(4321) is codes.Verdict.resume
    assert codes.verdict(4600) is codes.Verdict.afresh
    assert codes.verdict(4999) is codes.Verdict.stop


def test_the_mission_s_timing_finds_a_drop_within_35_s_and_a_wild_announcement_is_clamped() -> None:
    assert Timing().detection_s == 35
    wild = Timing(0.001, 500, 99).clamped()
    assert (wild.interval_s, wild.missed_limit) == (1, 5)
    assert wild.pong_timeout_s < wild.interval_s


def test_a_cursor_is_read_as_it_was_written() -> None:
    assert Cursor.parse(str(Cursor("0123abcd", 7))) == Cursor("0123abcd", 7)
    for wrong in ("", "7", "0123abcd:", "0123abcd:-1", "0123ABCD:7", "0123abcd:7 "):
        with pytest.raises(ValueError, match="is not a cursor"):
            Cursor.parse(wrong)


def test_both_engines_know_the_same_statements() -> None:
    own: dict[str, Any] = {engine: set(named(engine)) for engine in ("sqlite", "postgresql")}
    assert own["sqlite"] - own["postgresql"] == {"durability"}
    assert own["postgresql"] - own["sqlite"] == {"notify", "now"}
    for statement in own["postgresql"]:
        assert ":" not in for_psycopg(statement).replace("::", "")


def test_settings_that_cannot_be_read_are_refused_with_sentences(tmp_path: Path) -> None:
    path = tmp_path / "restante.toml"
    with pytest.raises(InputError, match="the kit renders it"):
        load(path)
    path.write_text("[server]\nhost = 1\n")
    with pytest.raises(InputError, match=r"server\.domain"):
        load(path)
    path.write_text("no toml")
    with pytest.raises(InputError, match="is not TOML"):
        load(path)
