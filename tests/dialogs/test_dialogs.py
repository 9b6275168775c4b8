"""LMTP as text. C: what the client sends, S: what it is answered, V: the store's verdicts for the mail that is complete then."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.server.lmtp.session import Session
from restante.server.store.base import Verdict

DIALOGS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_a_dialog_goes_as_it_is_written(path: Path) -> None:
    session = Session("mx.example.org", 200, smtp=path.stem.startswith("smtp"))
    heard = session.take().decode().splitlines()
    waiting = None
    for line in path.read_text().splitlines():
        kind, _, text = line.partition(": ")
        if kind == "C":
            waiting = session.receive(text.encode().decode("unicode_escape").encode("latin-1") + b"\r\n") or waiting
        elif kind == "V":
            assert waiting, f"no mail is complete before {line}"
            waiting = session.answer([Verdict(word) for word in text.split()])
        elif kind == "S":
            heard += session.take().decode().splitlines()
            assert heard.pop(0).startswith(text), line
    assert (heard, waiting) == ([], None)


MAIL = (
    b"LHLO mx\r\nXFORWARD IDENT=4Bq1\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nRCPT TO:<c@y>\r\nDATA\r\n"
    b"..dot\r\n.\n.\r.\r\nend\r\n.\r\nQUIT\r\n"
)


@given(st.lists(st.integers(min_value=0, max_value=len(MAIL)), max_size=20))
def test_however_the_bytes_are_cut_it_is_the_same_mail(cuts: list[int]) -> None:
    session, found = Session("mx", 1000), []
    places = [0, *sorted(cuts), len(MAIL)]
    for start, end in itertools.pairwise(places):
        if transaction := session.receive(MAIL[start:end]):
            found.append(transaction)
    assert [each.raw for each in found] == [b".dot\r\n\n.\r.\r\nend\r\n"]
    assert (found[0].identity, found[0].recipients) == ("4Bq1", ["b@y", "c@y"])
    session.answer([Verdict.stored, Verdict.over_quota])
    assert session.take().splitlines()[-3:-1] == [b"250 2.0.0 Stored", session_reply(Verdict.over_quota)]


def session_reply(verdict: Verdict) -> bytes:
    session = Session("mx", 1000)
    session.receive(MAIL.replace(b"RCPT TO:<c@y>\r\n", b""))
    session.answer([verdict])
    return session.take().splitlines()[-2]


@given(st.binary(max_size=3000))
def test_no_bytes_make_it_fail_or_answer_5xx_to_a_mail(noise: bytes) -> None:
    session = Session("mx", 1000)
    session.receive(b"LHLO mx\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n")
    session.take()
    if session.receive(noise + b"\r\n.\r\n"):
        reply = session.take()
        assert reply == b"", "nothing is said before the store's verdict"
        session.answer([Verdict.unavailable])
        assert session.take().startswith(b"451 4.3.0")
