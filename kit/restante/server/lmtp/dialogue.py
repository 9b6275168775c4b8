"""LMTP without I/O (RFC 2033): bytes in, replies and whole transactions out, the same for every way the bytes are cut.

    state     command      next      reply
    start     LHLO         ready     250    any later LHLO: ready again, what was begun is forgotten
    ready     XFORWARD     ready     250    Postfix's queue id, for the next transaction only
    ready     MAIL         mail      250
    mail      RCPT         mail      250
    mail      DATA         data      354    with a recipient; without one 503 (RFC 2033, 4.2)
    data      CRLF.CRLF    waiting   none   the session stops here and gives the transaction
    waiting   (answer)     ready     one line for each recipient, after the verdicts
    any       RSET         ready     250    start stays start; NOOP and VRFY change nothing; QUIT closes

Once a mail is at stake nothing is answered 5xx, not even nonsense: Postfix has said 250 to the sender by then, and a 5xx would
make a bounce to an address that may be forged. MAIL, RCPT and the wrong greeting are refused with 4xx: the mail waits, and its
age is alerted. 5xx is left to commands that carry no mail, and to DATA when each recipient has its answer already (Postfix's
smtp_proto.c ignores the replies to RCPT after a refused MAIL, and to DATA without a recipient).

Only CRLF.CRLF ends a mail. A line feed alone ends neither a mail nor a command, so nothing inside a mail becomes a second one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from restante.server.lmtp.syntax import attributes, identity, path, size_of
from restante.server.store.base import Verdict

RECIPIENTS_LIMIT = 1000
ERRORS_LIMIT = 20

# Enhanced codes: RFC 3463. Oversize is x.3.4, "message too big for system", and temporary because here two limits of one host
# disagree: its operator can mend that while the mail waits.
REPLIES = {
    Verdict.stored: b"250 2.0.0 Stored\r\n",
    Verdict.repeated: b"250 2.0.0 Stored before\r\n",
    Verdict.unknown_inbox: b"450 4.1.1 There is no such inbox now\r\n",
    Verdict.over_quota: b"452 4.2.2 The inbox is full\r\n",
    Verdict.no_space: b"452 4.3.1 No space is left for mail\r\n",
    Verdict.unavailable: b"451 4.3.0 The store can not take mail now\r\n",
}
OVERSIZE = b"452 4.3.4 The mail is larger than this system takes\r\n"
DRAINING = b"421 4.3.2 The server restarts; come back soon\r\n"
TIMED_OUT = b"421 4.4.2 Nothing was heard for too long\r\n"


class State(StrEnum):
    start = "start"
    ready = "ready"
    mail = "mail"
    data = "data"
    waiting = "waiting"
    closed = "closed"


@dataclass
class Transaction:
    """One mail and its envelope. `identity` is the MTA's queue id."""

    sender: str
    identity: str | None
    recipients: list[str] = field(default_factory=list)
    raw: bytes = b""


class Dialogue:
    """What each command does in each state. The session below it cuts the bytes into commands and mails.

    `smtp` makes it an SMTP listener, for a machine without Postfix: EHLO, no XFORWARD, one reply for a whole mail.
    """

    def __init__(self, host: str, size_limit: int, *, smtp: bool = False) -> None:
        self.state = State.start
        self.draining = False
        self.transaction = Transaction("", None)
        self._host, self._size_limit, self._smtp = host, size_limit, smtp
        self._errors = 0
        self._identity: str | None = None
        self._replies = bytearray(f"220 {host} {'ESMTP' if smtp else 'LMTP'} Restante\r\n".encode())

    @property
    def idle(self) -> bool:
        """No mail is under way."""
        return self.state in (State.start, State.ready)

    def take(self) -> bytes:
        """The replies since the last time."""
        replies, self._replies = bytes(self._replies), bytearray()
        return replies

    def leave(self, reply: bytes) -> None:
        """Say why, and close."""
        self._replies += reply
        self.state = State.closed

    def command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if self.draining and self.idle and verb != b"QUIT":
            self.leave(DRAINING)
            return
        states, handler, refusal = _COMMANDS.get(verb, _UNKNOWN)
        if self.state in states:
            handler(self, rest)
        elif (errors := self._errors) < ERRORS_LIMIT:
            self._errors = errors + 1
            self._replies += refusal
        else:
            self.leave(b"421 4.7.0 Too many errors\r\n")

    def conclude(self, replies: list[bytes]) -> None:
        if self._smtp:
            replies = [max(replies)]  # a sender gets one reply for all: 4xx where there is any, and it repeats
        for reply in replies:
            self._replies += reply
        self._forget()

    def _forget(self) -> None:
        self.state = State.start if self.state is State.start else State.ready
        self.transaction, self._identity = Transaction("", None), None

    def _lhlo(self, rest: bytes) -> None:
        if self._smtp:
            self._replies += b"500 5.5.1 This is SMTP: the greeting is EHLO\r\n"
        else:
            # SIZE without a number: told one, Postfix itself bounces what is larger (smtp_proto.c, 5.3.4). IDENT is what is
            # used; Postfix sends it only to a server that takes PROTO or HELO too.
            self._greet("SIZE", "XFORWARD IDENT PROTO HELO SOURCE")

    def _ehlo(self, rest: bytes) -> None:
        if self._smtp:
            self._greet(f"SIZE {self._size_limit}")
        else:
            self._replies += b"451 4.5.1 This is LMTP: the greeting is LHLO\r\n"

    def _helo(self, rest: bytes) -> None:
        if self._smtp:
            self._forget()
            self.state = State.ready
            self._replies += f"250 {self._host}\r\n".encode()
        else:
            self._ehlo(rest)

    def _greet(self, *more: str) -> None:
        self._forget()
        self.state = State.ready
        words = [self._host, "PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", *more]
        self._replies += "".join(f"250-{word}\r\n" for word in words[:-1]).encode() + f"250 {words[-1]}\r\n".encode()

    def _xforward(self, rest: bytes) -> None:
        found = None if self._smtp else attributes(rest)
        if found is None:
            self._replies += b"501 5.5.4 XFORWARD takes attribute=value\r\n"
            return
        if "IDENT" in found:
            self._identity = identity(found["IDENT"])
        self._replies += b"250 2.0.0 Noted\r\n"

    def _mail(self, rest: bytes) -> None:
        found = path(rest, b"FROM:")
        if found is None:
            self._replies += b"451 4.1.7 The sender is not understood\r\n"
        elif size_of(found[1]) > self._size_limit:
            self._replies += OVERSIZE
        else:
            self.transaction = Transaction(found[0], self._identity)
            self._identity, self.state = None, State.mail
            self._replies += b"250 2.1.0 Sender taken\r\n"

    def _rcpt(self, rest: bytes) -> None:
        found = path(rest, b"TO:")
        if found is None or not found[0]:
            self._replies += b"450 4.1.3 The recipient is not understood\r\n"
        elif len(self.transaction.recipients) >= RECIPIENTS_LIMIT:
            self._replies += b"452 4.5.3 Too many recipients for one mail\r\n"
        else:
            self.transaction.recipients.append(found[0])
            self._replies += b"250 2.1.5 Recipient taken\r\n"

    def _data(self, rest: bytes) -> None:
        if not self.transaction.recipients:
            self._replies += b"503 5.5.1 No recipient was taken\r\n"
            return
        self.state = State.data
        self._replies += b"354 Go on; a dot on a line of its own ends the mail\r\n"

    def _rset(self, rest: bytes) -> None:
        self._forget()
        self._replies += b"250 2.0.0 Forgotten\r\n"

    def _noop(self, rest: bytes) -> None:
        self._replies += b"250 2.0.0 Here\r\n"

    def _vrfy(self, rest: bytes) -> None:
        self._replies += b"252 2.0.0 A delivery will tell\r\n"

    def _quit(self, rest: bytes) -> None:
        self.leave(b"221 2.0.0 Goodbye\r\n")

    def _foreign(self, rest: bytes) -> None:
        self.leave(b"421 4.5.1 This is a mail server without this command\r\n")


_Rule = tuple[frozenset[State], Callable[[Dialogue, bytes], None], bytes]
_ANY = frozenset({State.start, State.ready, State.mail})
_UNKNOWN: _Rule = (frozenset(), Dialogue._noop, b"500 5.5.1 The command is not known\r\n")
_COMMANDS: dict[bytes, _Rule] = {
    b"LHLO": (_ANY, Dialogue._lhlo, b""),
    b"EHLO": (_ANY, Dialogue._ehlo, b""),
    b"HELO": (_ANY, Dialogue._helo, b""),
    b"XFORWARD": (
        frozenset({State.ready}),
        Dialogue._xforward,
        b"503 5.5.1 XFORWARD comes between greeting and MAIL\r\n",
    ),
    b"MAIL": (frozenset({State.ready}), Dialogue._mail, b"451 4.5.1 MAIL comes after the greeting, and once\r\n"),
    b"RCPT": (frozenset({State.mail}), Dialogue._rcpt, b"451 4.5.1 RCPT comes after MAIL\r\n"),
    b"DATA": (frozenset({State.mail}), Dialogue._data, b"503 5.5.1 DATA comes after RCPT\r\n"),
    b"RSET": (_ANY, Dialogue._rset, b""),
    b"NOOP": (_ANY, Dialogue._noop, b""),
    b"VRFY": (_ANY, Dialogue._vrfy, b""),
    b"QUIT": (_ANY, Dialogue._quit, b""),
    # What follows these is content; read as commands, a mail or a web page's form could give orders.
    **dict.fromkeys((b"BDAT", b"GET", b"POST", b"PUT", b"CONNECT"), (_ANY, Dialogue._foreign, b"")),
}
