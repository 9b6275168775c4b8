"""The mailbox verbs against a running server."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from office import INBOX, Office

from restante.cli.main import main
from restante.server.backup import folder


@pytest.fixture
def restante(office: Office, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("RESTANTE_URL", f"http://127.0.0.1:{office.http_port}")
    monkeypatch.setenv("RESTANTE_TOKEN", office.token)

    def run(*argv: str, status: int = 0) -> str:
        done = CliRunner().invoke(main, argv)
        assert done.exit_code == status, done.output
        return done.output

    return run


def test_a_message_from_arrival_to_acknowledgement(restante, office: Office) -> None:  # type: ignore[no-untyped-def]
    office.send("one", "two")
    assert "2 received, 0 remain" in restante("receive", INBOX)
    items = json.loads(restante("message", "list", INBOX, "--json"))["items"]
    assert [item["subject"] for item in items] == ["one", "two"]
    assert "one" in restante("message", "show", INBOX, items[0]["id"])
    assert "Subject: one" in restante("message", "raw", INBOX, items[0]["id"])
    assert "unknown" in restante("ack", INBOX, "A" * 48, status=1)
    assert "leased           2" in restante("ledger")


def test_inboxes_tokens_and_webhooks_are_made_and_listed(restante) -> None:  # type: ignore[no-untyped-def]
    assert "new@example.org takes mail" in restante("inbox", "create", "new@example.org")
    assert "new@example.org" in restante("inbox", "list")
    assert "default" in restante("inbox", "show", "new@example.org")
    assert restante("token", "create", "crm", "--allow", f"{INBOX}=receive").startswith("rst_")
    assert f"{INBOX}=receive" in restante("token", "list")
    made = restante("webhook", "create", "http://203.0.113.9/hook", "--inbox", INBOX)
    assert "secret: whsec_" in made
    assert "http://203.0.113.9/hook" in restante("webhook", "list")
    assert "failed" in restante("webhook", "test", made.split()[0], status=1)
    assert "id" in restante("dead-letters", "list", INBOX)
    assert "0 dead letters" in restante("dead-letters", "redrive", INBOX, "--all")


def test_what_the_server_refuses_is_a_sentence(restante, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    result = CliRunner().invoke(main, ["inbox", "show", "nobody@example.org"])
    assert "there is no inbox nobody@example.org" in str(result.exception)
    monkeypatch.setenv("RESTANTE_URL", "http://127.0.0.1:9")
    assert "no post office answers" in str(CliRunner().invoke(main, ["inbox", "list"]).exception)


def test_a_backup_is_made_listed_verified_and_put_back(restante, office: Office, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    office.send("one")
    made = json.loads(restante("backup", "now", "--json"))
    where = ("--dir", made["directory"])
    assert f"{made['file']}" in restante("backup", "list", *where)
    assert "is whole: 1 messages" in restante("backup", "verify", *where)
    assert "is whole: 1 messages" in restante("backup", "verify", made["file"], *where)
    target = tmp_path / "elsewhere" / "store.sqlite"
    assert "is the copy of" in restante("restore", *where, "--store", str(target))
    assert target.exists()


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["backup", "list"], "this host has no /etc/restante/backup.toml"),
        (["backup", "list", "--dir", "/nowhere"], "/nowhere is no folder"),
        (["backup", "verify", "/nowhere/20260101T000000Z-000"], "is no backup"),
        (["restore", "--to", "yesterday", "--dir", "/tmp"], "yesterday is no moment; as in"),
        (["restore", "--dir", "EMPTY"], "there is no backup in"),
        (["restore", "COPY", "--store", "/proc/nowhere/store.sqlite"], "the restore stopped: "),
    ],
)
def test_what_cannot_be_restored_is_said_in_a_sentence(argv: list[str], sentence: str, tmp_path: Path) -> None:
    copy = tmp_path / "copies" / "made.sqlite"
    copy.parent.mkdir()
    with closing(sqlite3.connect(copy)) as connection:
        connection.execute("CREATE TABLE message (id)")
    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    folder.describe(copy.parent, folder.Copy(copy.name, 0, 0, digest, 0))
    words = [word.replace("EMPTY", str(tmp_path)).replace("COPY", str(copy)) for word in argv]
    result = CliRunner().invoke(main, words)
    assert sentence in str(result.exception)
