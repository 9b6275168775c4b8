"""What is asked of a post office in the end, with a host that answers as its API does."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from restante.drills import office

INBOX = "agent-1@drill.example"


class Host:
    """Lists by the thousand, as the API does, whatever is in `lists` by the last word of its path."""

    name = "mail"

    def __init__(self, **lists: list[dict[str, Any]]) -> None:
        self.lists = lists

    def exec(self, argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        if argv[0] == "restante":
            return subprocess.CompletedProcess(argv, 0, json.dumps({"unexplained_mails": []}), "")
        return subprocess.CompletedProcess(argv, 0, json.dumps(self._page(argv[-2])), "")

    def _page(self, target: str) -> dict[str, Any]:
        path, asked = urlsplit(target).path, parse_qs(urlsplit(target).query)
        begin = int(asked.get("cursor", ["epoch:0"])[0].partition(":")[2])
        end = begin + min(int(asked.get("limit", ["100"])[0]), 1000)
        items = self.lists[path.rpartition("/")[2].replace("-", "_")]
        return {"items": items[begin:end], "next_cursor": f"epoch:{end}" if end < len(items) else None}


def mails(count: int, first: int = 1) -> list[dict[str, Any]]:
    return [{"subject": f"mail {n}"} for n in range(first, first + count)]


IDLE = {"in_flight": 0, "waiting": 0, "new": 0}


@pytest.mark.parametrize("count", [0, 1000, 7240])
def test_every_mail_of_an_inbox_is_found_however_many_there_are(count: int) -> None:
    host = Host(messages=mails(count), dead_letters=[], consumers=[IDLE])
    found = list(office.found([host], [INBOX], "agent"))
    for what in ("stored", "acknowledged"):
        assert [event["n"] for event in found if event["what"] == what] == list(range(1, count + 1))


def test_every_dead_letter_is_found() -> None:
    letters = [{"message": mail} for mail in mails(2500)]
    host = Host(messages=mails(2501), dead_letters=letters, consumers=[IDLE])
    found = list(office.found([host], [INBOX], "agent"))
    assert len([event for event in found if event["what"] == "dead"]) == 2500
    assert [event["n"] for event in found if event["what"] == "acknowledged"] == [2501]


def test_where_mail_waits_nothing_is_called_acknowledged() -> None:
    host = Host(messages=mails(3), dead_letters=[], consumers=[{**IDLE, "waiting": 1}])
    assert {event["what"] for event in office.found([host], [INBOX], "agent")} == {"stored"}
