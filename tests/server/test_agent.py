"""`restante agent run`, AsyncMailbox, and what systemd is told."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from office import INBOX, Office, serving, settings

from restante import AsyncMailbox, Mailbox


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    with serving(settings(tmp_path / "data")) as made:
        yield made


def run(office: Office, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {
        "RESTANTE_URL": f"http://127.0.0.1:{office.http_port}",
        "RESTANTE_INBOX": INBOX,
        "RESTANTE_TOKEN": office.token,
    }
    command = [sys.executable, "-m", "restante", "agent", "run", "--once", *argv]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **given, **environment}, timeout=60, check=False
    )


def test_a_shell_script_is_an_agent(office: Office, tmp_path: Path) -> None:
    office.send("one", "two")
    done = run(
        office, "--", "sh", "-c", f'cat >> {tmp_path}/mails; echo "$RESTANTE_SUBJECT $RESTANTE_FROM $RESTANTE_ATTEMPT"'
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "one a@example.net 1\ntwo a@example.net 1\n"
    assert (tmp_path / "mails").read_text().count("Subject: ") == 2
    assert office.receive()["items"] == []


def test_a_program_that_fails_gives_its_message_back_with_its_last_words(office: Office) -> None:
    office.send("bad")
    done = run(office, "--", "sh", "-c", "echo first >&2; echo no such customer >&2; exit 3")
    assert done.returncode == 0
    assert "sh ended with 3: no such customer" in done.stderr
    office.office.post.store.clock.not_before(office.office.post.store.clock.now() + 11)
    item = office.receive()["items"][0]
    assert item["attempt"] == 2


def test_what_was_seen_is_not_handled_again(office: Office, tmp_path: Path) -> None:
    for _ in range(2):
        office.send("once")
    assert run(office, "--seen", str(tmp_path / "seen"), "--", "true").returncode == 0
    seek = office.call("POST", f"/v1/inboxes/{INBOX}/consumers/default/seek", {"cursor": "earliest"})
    assert seek.status < 300
    done = run(office, "--seen", str(tmp_path / "seen"), "--", "sh", "-c", "echo again")
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_missing_is_a_sentence(office: Office) -> None:
    done = run(office, "--", "true", RESTANTE_URL="")
    assert done.returncode == 2
    assert done.stderr.startswith("no post office is named")
    assert "Traceback" not in done.stderr


def test_the_same_verbs_for_asyncio(office: Office) -> None:
    async def work() -> list[str]:
        seen = []
        async with AsyncMailbox(
            f"http://127.0.0.1:{office.http_port}", inbox=INBOX, token=office.token, max_in_flight=5, nack_delay_s=0
        ) as box:
            mark = await box.head()
            office.send("one", "two", "three")
            assert (await box.wait_for(subject="three", since=mark, timeout=10)).subject == "three"
            assert [each.subject async for each in box.messages(cursor=mark)] == ["one", "two", "three"]
            async for delivery in box.consume():
                async with delivery:
                    if delivery.message.subject == "two" and delivery.attempt == 1:
                        raise ValueError("again")
                    seen.append(delivery.message.subject)
                if len(seen) == 3:
                    box.stop()
        return seen

    assert sorted(asyncio.run(asyncio.wait_for(work(), 30))) == ["one", "three", "two"]
    assert office.receive()["items"] == []


def test_a_cancelled_task_gives_back_what_it_held(office: Office) -> None:
    async def work() -> None:
        async with AsyncMailbox(f"http://127.0.0.1:{office.http_port}", inbox=INBOX, token=office.token) as box:
            begun = asyncio.Event()

            async def consume() -> None:
                async for delivery in box.consume():
                    async with delivery:
                        begun.set()
                        await asyncio.sleep(60)

            task = asyncio.create_task(consume())
            await asyncio.wait_for(begun.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    office.send("held")
    asyncio.run(asyncio.wait_for(work(), 30))
    assert [item["attempt"] for item in office.receive()["items"]] == [1]


def until_fed(systemd: socket.socket) -> bool:
    """False when the watchdog was not fed among the next words."""
    words = [systemd.recv(1000) for _ in range(10)]
    assert all(word == b"WATCHDOG=1" or re.match(rb"STATUS=\w+ (up|down); heartbeat ", word) for word in words), words
    return b"WATCHDOG=1" in words


def test_systemd_is_told_ready_and_the_watchdog_is_fed_until_a_handler_takes_too_long(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        box = Mailbox(f"http://127.0.0.1:{office.http_port}", inbox=INBOX, token=office.token, max_handling_s=1)
        held, leave = threading.Event(), threading.Event()

        def consume() -> None:
            for delivery in box.consume():
                with delivery:
                    held.set()
                    leave.wait(30)

        thread = threading.Thread(target=consume)
        thread.start()
        assert systemd.recv(1000).startswith(b"READY=1")
        assert until_fed(systemd), "it says how things are, and feeds the watchdog"
        office.send("stalls")
        assert held.wait(10)
        assert until_fed(systemd), "a handler may take its time"
        while until_fed(systemd):  # and ends: it says how things are, and feeds no more
            pass
        leave.set()
        box.stop()
        thread.join(10)
        box.close()
    assert box.figures.overran == 1
    assert box._hands.room == 1, "it is not held any more"
