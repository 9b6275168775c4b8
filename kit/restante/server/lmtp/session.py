"""LMTP without I/O (RFC 2033): bytes in, replies and whole transactions out.

    state     command               next
    start     LHLO                  idle
    idle      MAIL                  mail
    mail      RCPT                  rcpt
    rcpt      RCPT                  rcpt
    rcpt      DATA                  data      354
    data      CRLF.CRLF             waiting   the transaction is handed out
    waiting   answer() is called    idle      one reply for each recipient
    any       RSET, LHLO            idle; XFORWARD (idle only), NOOP, VRFY, QUIT as they are

A mail transaction is never answered 5xx: by then Postfix has said 250 to the sender, and a 5xx would make a bounce to an
address that may be forged. Only CRLF.CRLF ends a mail, so that a bare line feed never makes two mails of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from restante.server.store.base import Verdict

LINE_LIMIT = 4096
RECIPIENTS_LIMIT = 1000
_END = b"\r\n.\r\n"
_PATH = re.compile(rb"(?:FROM|TO):\s*<((?:\"(?:[^\"\\]|\\.)*\"|[^<>\"])*)>((?:\s+\S+)*)\s*", re.I)
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
REPLIES = {
    Verdict.stored: "250 2.0.0 <{0}> is on disk",
    Verdict.repeated: "250 2.0.0 <{0}> was on disk already",
    Verdict.unknown_inbox: "450 4.1.1 <{0}> has no inbox here at this moment",
    Verdict.over_quota: "452 4.2.2 <{0}> is full",
    Verdict.no_space: "452 4.3.1 no space is left for mail",
    Verdict.unavailable: "451 4.3.0 the store does not answer",
}


class State(Enum):
    start = auto()
    idle = auto()
    mail = auto()
    rcpt = auto()
    data = auto()
    waiting = auto()
    closed = auto()


@dataclass
class Transaction:
    """One mail as it was handed over. `ident` is XFORWARD's, the MTA's queue id."""

    sender: str
    recipients: list[str] = field(default_factory=list)
    ident: str | None = None
    raw: bytes = b""


class Session:
    """Feed it with `receive`; it gives bytes to send. When `pending` is set, call `answer` before it goes on.

    `smtp` makes it an SMTP listener: EHLO, and one reply for the whole mail. For machines without Postfix.
    """

    def __init__(self, host: str, size_limit: int, *, smtp: bool = False) -> None:
        self._host, self._size_limit, self._smtp = host, size_limit, smtp
        self._buffer = bytearray()
        self._searched = 0
        self._oversize = False
        self._ident: str | None = None
        self._transaction = Transaction("")
        self.state = State.start
        self.draining = False
        self.pending: Transaction | None = None

    def greeting(self) -> bytes:
        return f"220 {self._host} {'ESMTP' if self._smtp else 'LMTP'} restante\r\n".encode()

    def receive(self, data: bytes) -> bytes:
        """Bytes of the client -> bytes to send."""
        self._buffer += data
        return self._go_on()

    def answer(self, verdicts: Sequence[Verdict]) -> bytes:
        """One verdict for each recipient of `pending`; then what was pipelined behind it."""
        assert self.pending
        recipients = self.pending.recipients
        pairs = list(zip(recipients, verdicts, strict=True))
        self.pending = None
        self._reset()
        if self._smtp:
            bad = [verdict for verdict in verdicts if verdict not in {Verdict.stored, Verdict.repeated}]
            pairs = [(recipients[0], bad[0] if bad else Verdict.stored)]
        lines = [_line(REPLIES[verdict].format(recipient)) for recipient, verdict in pairs]
        return b"".join(lines) + self._go_on()

    def _go_on(self) -> bytes:
        out = b""
        while self.state not in {State.waiting, State.closed}:
            if self.state is State.data:
                if not self._read_data():
                    break
                if self._oversize:
                    out += self._too_large()
                continue
            end = self._buffer.find(b"\n")
            if end < 0:
                if len(self._buffer) > LINE_LIMIT:
                    self.state = State.closed
                    out += b"421 4.5.2 a command line is longer than 4096 bytes\r\n"
                break
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            out += self._command(line)
        return out

    def _read_data(self) -> bool:
        """Whether the mail has ended. The buffer starts with a CRLF of our own, so that a mail of one dot ends too."""
        end = self._buffer.find(_END, self._searched)
        if end < 0:
            if len(self._buffer) > self._size_limit + 1024:
                self._oversize = True
                del self._buffer[: -len(_END)]
            self._searched = max(0, len(self._buffer) - len(_END) + 1)
            return False
        raw = bytes(self._buffer[2 : end + 2])
        del self._buffer[: end + len(_END)]
        self._oversize = self._oversize or len(raw) > self._size_limit
        if not self._oversize:
            self._transaction.raw = (
                raw.replace(b"\r\n.", b"\r\n")[0:] if raw[:1] != b"." else raw[1:].replace(b"\r\n.", b"\r\n")
            )
            self.pending = self._transaction
        self.state = State.waiting
        return True

    def _too_large(self) -> bytes:
        recipients = self._transaction.recipients[: 1 if self._smtp else None]
        reply = _line(f"452 4.3.4 the mail is larger than {self._size_limit} bytes") * len(recipients)
        self._reset()
        return reply

    def _reset(self) -> None:
        self.state, self._transaction = State.idle, Transaction("")
        self._searched, self._oversize, self._ident = 0, False, None

    def _command(self, line: bytes) -> bytes:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if self.draining and verb in {b"MAIL", b"LHLO", b"EHLO", b"HELO", b"NOOP", b"RSET"}:
            self.state = State.closed
            return b"421 4.3.2 the server stops; try again soon\r\n"
        method = {
            b"LHLO": self._lhlo, b"EHLO": self._lhlo, b"HELO": self._lhlo, b"XFORWARD": self._xforward, b"MAIL": self._mail,
            b"RCPT": self._rcpt, b"DATA": self._data, b"RSET": self._rset, b"NOOP": self._noop, b"VRFY": self._vrfy, b"QUIT": self._quit,
        }.get(verb)  # fmt: skip
        if method is None or ((verb == b"LHLO") == self._smtp and verb in {b"LHLO", b"EHLO", b"HELO"}):
            return b"500 5.5.2 this command is not known here\r\n"
        if self.state is State.start and verb not in {b"LHLO", b"EHLO", b"HELO", b"NOOP", b"QUIT", b"RSET"}:
            return b"503 5.5.1 say hello first\r\n"
        return method(rest)

    def _lhlo(self, rest: bytes) -> bytes:
        self._reset()
        words = ["PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", f"SIZE {self._size_limit}"]
        words += [] if self._smtp else ["XFORWARD IDENT NAME ADDR PORT PROTO HELO SOURCE"]
        lines = [self._host, *words]
        return "".join(f"250{' ' if word is lines[-1] else '-'}{word}\r\n" for word in lines).encode()

    def _xforward(self, rest: bytes) -> bytes:
        if self._smtp:
            return b"500 5.5.2 this command is not known here\r\n"
        if self.state is not State.idle:
            return b"503 5.5.1 XFORWARD comes before MAIL\r\n"
        for word in rest.decode("utf-8", "replace").split():
            name, _, value = word.partition("=")
            if name.upper() == "IDENT":
                found = _XTEXT.sub(lambda match: chr(int(match[1], 16)), value)
                self._ident = None if found.upper() in {"", "[UNAVAILABLE]", "[TEMPUNAVAIL]"} else found[:255]
        return b"250 2.0.0 noted\r\n"

    def _mail(self, rest: bytes) -> bytes:
        match = _PATH.fullmatch(rest)
        if self.state is not State.idle:
            return b"503 5.5.1 a mail is under way already\r\n"
        if not match or rest[:5].upper() != b"FROM:":
            return b"501 5.5.4 as in MAIL FROM:<sender@example.org>\r\n"
        size = re.search(rb"\bSIZE=([0-9]{1,15})\b", match[2], re.I)
        if size and int(size[1]) > self._size_limit:
            return f"452 4.3.4 the mail is larger than {self._size_limit} bytes\r\n".encode()
        self._transaction = Transaction(match[1].decode("utf-8", "replace"), ident=self._ident)
        self._ident, self.state = None, State.mail
        return b"250 2.1.0 go on\r\n"

    def _rcpt(self, rest: bytes) -> bytes:
        match = _PATH.fullmatch(rest)
        if self.state not in {State.mail, State.rcpt}:
            return b"503 5.5.1 MAIL comes first\r\n"
        if not match or rest[:3].upper() != b"TO:" or not match[1]:
            return b"501 5.5.4 as in RCPT TO:<inbox@example.org>\r\n"
        if len(self._transaction.recipients) >= RECIPIENTS_LIMIT:
            return b"452 4.5.3 too many recipients; send the rest again\r\n"
        self._transaction.recipients.append(match[1].decode("utf-8", "replace"))
        self.state = State.rcpt
        return b"250 2.1.5 go on\r\n"

    def _data(self, rest: bytes) -> bytes:
        if self.state is not State.rcpt:
            return b"503 5.5.1 no recipient was taken\r\n"
        self.state = State.data
        self._buffer[:0] = b"\r\n"
        return b"354 the mail, then a dot on a line by itself\r\n"

    def _rset(self, rest: bytes) -> bytes:
        if self.state is not State.start:
            self._reset()
        return b"250 2.0.0 forgotten\r\n"

    def _noop(self, rest: bytes) -> bytes:
        return b"250 2.0.0 here\r\n"

    def _vrfy(self, rest: bytes) -> bytes:
        return b"252 2.0.0 send, and see\r\n"

    def _quit(self, rest: bytes) -> bytes:
        self.state = State.closed
        return b"221 2.0.0 bye\r\n"


def _line(reply: str) -> bytes:
    return reply.replace("\r", " ").replace("\n", " ").encode() + b"\r\n"
