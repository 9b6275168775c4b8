"""What comes out of a session, and what it never does. How it talks is in tests/dialogs."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.server.lmtp.dialogue import ERRORS_LIMIT, RECIPIENTS_LIMIT, Transaction
from restante.server.lmtp.session import Session
from restante.server.lmtp.syntax import LINE_LIMIT
from restante.server.store.base import Verdict

OPEN = b"LHLO mx\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\n"
LIMIT = 3000
COMMANDS = [
    b"LHLO mx", b"EHLO mx", b"MAIL FROM:<a@x>", b"MAIL FROM:<>", b"RCPT TO:<b@y>", b"RCPT TO:<c@y>", b"DATA", b"RSET", b"NOOP",
    b"XFORWARD IDENT=1", b"MAIL FROM:<a@x> SIZE=99999", b"junk", b"\n.\n", b".", b"..", b"\r.\r", b"", b"x" * 700, b".x",
]  # fmt: skip
CLIENT = st.lists(st.sampled_from(COMMANDS), max_size=40).map(lambda lines: b"\r\n".join([*lines, b"."]) + b"\r\n")


def stuffed(content: bytes) -> bytes:
    return (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]


def only(raw: bytes) -> Transaction:
    session = Session("mx", LIMIT)
    found = session.receive(raw)
    assert found is not None
    return found


def run(pieces: list[bytes]) -> tuple[bytes, list[tuple[object, ...]]]:
    session, found = Session("mx", LIMIT), []
    for piece in pieces:
        transaction = session.receive(piece)
        while transaction:
            found.append((transaction.sender, transaction.identity, tuple(transaction.recipients), transaction.raw))
            transaction = session.answer([Verdict.stored] * len(transaction.recipients))
    return session.take(), found


@given(CLIENT, st.lists(st.integers(0, 5000), max_size=30))
def test_a_client_is_understood_alike_however_its_bytes_are_cut(sent: bytes, cuts: list[int]) -> None:
    places = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    assert run([sent[a:b] for a, b in itertools.pairwise(places)]) == run([sent])


@given(CLIENT)
def test_a_byte_at_a_time_is_no_different(sent: bytes) -> None:
    assert run([bytes([byte]) for byte in sent]) == run([sent])


@given(st.lists(st.sampled_from([b"\r\n", b".", b"\n", b"\r", b"a"]), max_size=40).map(b"".join))
def test_a_mail_comes_out_as_it_went_in(content: bytes) -> None:
    content += b"\r\n"
    assert only(OPEN + stuffed(content) + b".\r\n").raw == content


@pytest.mark.parametrize("end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r.\r\n", b"\n\n.\r\r\n"])
def test_nothing_but_crlf_dot_crlf_ends_a_mail(end: bytes) -> None:
    session = Session("mx", LIMIT)
    assert session.receive(OPEN + b"first" + end + b"MAIL FROM:<evil@x>\r\n") is None
    found = session.receive(b"\r\n.\r\n")
    assert found
    assert b"evil" in found.raw


def test_an_empty_mail_is_a_mail() -> None:
    assert only(OPEN + b".\r\n").raw == b""


@pytest.mark.parametrize(
    ("forwarded", "identity"),
    [
        (b"XFORWARD IDENT=4bQ1zzz", "4bQ1zzz"),
        (b"XFORWARD IDENT=4bQ1\r\nXFORWARD PROTO=ESMTP HELO=a", "4bQ1"),
        (b"xforward ident=a+2Bb", "a+b"),
        (b"XFORWARD IDENT=[UNAVAILABLE]", None),
        (b"XFORWARD IDENT=[TEMPUNAVAIL]", None),
        (b"XFORWARD IDENT=", None),
        (b"XFORWARD IDENT=a+20b", None),
        (b"XFORWARD IDENT=a+0D+0A", None),
        (b"XFORWARD IDENT=" + b"x" * 201, None),
        (b"XFORWARD IDENT=1\r\nRSET", None),
        (b"XFORWARD IDENT=1\r\nLHLO mx", None),
        (b"XFORWARD HELO=a", None),
    ],
)
def test_the_queue_id_is_what_xforward_says(forwarded: bytes, identity: str | None) -> None:
    sent = OPEN.replace(b"MAIL", forwarded + b"\r\nMAIL", 1) + b".\r\n"
    assert only(sent).identity == identity


def test_a_queue_id_belongs_to_one_mail() -> None:
    mail = OPEN.partition(b"\r\n")[2] + b".\r\n"
    _, found = run([b"LHLO mx\r\nXFORWARD IDENT=1\r\n" + mail + mail])
    assert [identity for _, identity, _, _ in found] == ["1", None]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"<b@EXAMPLE.org>", "b@example.org"),
        (b"<B@example.org>", "B@example.org"),
        (b'<"a \\" >b"@Example.org>', '"a \\" >b"@example.org'),
        ("<用户@例子.广告>".encode(), "用户@例子.广告"),
        (b"<\xff@example.org>", "\ufffd@example.org"),
        (b" <postmaster> NOTIFY=NEVER", "postmaster"),
    ],
)
def test_recipients_are_kept_as_written_but_for_their_domain(written: bytes, read: str) -> None:
    assert only(OPEN.replace(b"<b@y>", written) + b".\r\n").recipients == [read]


def test_verdicts_that_do_not_fit_the_recipients_never_become_a_250() -> None:
    for verdicts in (None, [], [Verdict.stored] * 2):
        session = Session("mx", LIMIT)
        session.receive(OPEN + b".\r\n")
        session.take()
        session.answer(verdicts)
        assert session.take() == b"451 4.3.0 The store can not take mail now\r\n"


def test_a_mail_that_waits_is_given_once_and_what_follows_is_kept() -> None:
    session = Session("mx", LIMIT)
    assert session.receive(OPEN + b".\r\nNOOP\r\n")
    assert session.receive(b"NOOP\r\n") is None
    session.take()
    assert session.answer([Verdict.stored]) is None
    assert session.take().count(b"250 2.0.0") == 3


@pytest.mark.parametrize(("size", "taken"), [(LIMIT, True), (LIMIT + 1, False), (LIMIT * 50, False)])
@pytest.mark.parametrize("line", [b"x" * 98, b"", b"."])
def test_the_limit_counts_the_mail_and_not_its_stuffing(size: int, taken: bool, line: bytes) -> None:
    content = ((line + b"\r\n") * (size // (len(line) + 2) + 1))[: size - 2] + b"\r\n"
    replies, found = run([OPEN + stuffed(content) + b".\r\n"])
    assert bool(found) is taken
    assert replies.splitlines()[-1].startswith(b"250 2.0.0" if taken else b"452 4.3.4")


def test_an_endless_mail_takes_no_memory() -> None:
    session = Session("mx", LIMIT)
    session.receive(OPEN)
    for _ in range(1000):
        session.receive(b"x" * 1000)
        assert len(session._input) < LIMIT * 2 + LINE_LIMIT


def test_endless_commands_recipients_and_errors_are_cut_off() -> None:
    assert b"421 4.5.2" in run([b"x" * LINE_LIMIT])[0]
    assert run([b"junk\r\n" * 1000])[0].count(b"\r\n") == ERRORS_LIMIT + 2
    replies, _ = run([b"LHLO mx\r\nMAIL FROM:<>\r\n" + b"RCPT TO:<b@y>\r\n" * (RECIPIENTS_LIMIT + 3)])
    assert (replies.count(b"250 2.1.5"), replies.count(b"452 4.5.3")) == (RECIPIENTS_LIMIT, 3)


def test_a_drain_lets_the_mail_that_is_under_way_be_finished() -> None:
    session = Session("mx", LIMIT)
    session.receive(b"LHLO mx\r\nMAIL FROM:<a@x>\r\n")
    session.draining = True
    assert session.receive(b"RCPT TO:<b@y>\r\nDATA\r\n.\r\n")
    session.take()
    session.answer([Verdict.stored])
    session.receive(b"MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\n")
    assert session.take().splitlines() == [b"250 2.0.0 Stored", b"421 4.3.2 The server restarts; come back soon"]
