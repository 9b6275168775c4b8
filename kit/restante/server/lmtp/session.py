"""The bytes of one LMTP client: cut into commands and mails, the same however they arrive.

A mail is gathered in one buffer and its end searched from where the last search stopped, not line by line.
"""

from __future__ import annotations

from collections.abc import Sequence

from restante.server.lmtp.dialogue import OVERSIZE, REPLIES, Dialogue, State, Transaction
from restante.server.lmtp.syntax import LINE_LIMIT
from restante.server.store.base import Verdict

_END = b"\r\n.\r\n"
_STOPPED = (State.waiting, State.closed)


class Session(Dialogue):
    """`receive` takes bytes and may give a transaction; then `answer` is due. `take` gives what is to be sent."""

    def __init__(self, host: str, size_limit: int, *, smtp: bool = False) -> None:
        super().__init__(host, size_limit, smtp=smtp)
        self._input = bytearray()
        self._searched = 0
        self._too_large = False

    def receive(self, data: bytes) -> Transaction | None:
        """Go on with what the client sent, until a mail is complete or the bytes are used up."""
        if self.state is not State.closed:
            self._input += data
        if self.state in _STOPPED:
            return None
        while self.state not in _STOPPED:
            if not (self._read_data() if self.state is State.data else self._read_command()):
                break
        return self.transaction if self.state is State.waiting else None

    def answer(self, verdicts: Sequence[Verdict] | None) -> Transaction | None:
        """One verdict for each recipient, or None when there are none to have; then what was pipelined behind the mail."""
        count = len(self.transaction.recipients)
        if verdicts is None or len(verdicts) != count:
            verdicts = [Verdict.unavailable] * count  # never a 250 by guess
        self.conclude([REPLIES[verdict] for verdict in verdicts])
        return self.receive(b"")

    def _read_command(self) -> bool:
        end = self._input.find(b"\r\n", self._searched, LINE_LIMIT)
        if end < 0:
            self._searched = max(0, len(self._input) - 1)
            if len(self._input) >= LINE_LIMIT:
                self.leave(b"421 4.5.2 The command is too long\r\n")
            return False
        line = bytes(self._input[:end])
        del self._input[: end + 2]
        self._searched = 0
        self.command(line)
        if self.state is State.data:
            self._input[:0] = b"\r\n"  # the CRLF of the command: the end is found behind an empty mail too
        return True

    def _read_data(self) -> bool:
        end = self._input.find(_END, self._searched)
        if end < 0:
            self._bound()
            self._searched = max(0, len(self._input) - len(_END) + 1)
            return False
        raw = bytes(memoryview(self._input)[: end + 2])
        del self._input[: end + len(_END)]
        too_large, self._too_large, self._searched = self._too_large, False, 0
        raw = raw.replace(b"\r\n.", b"\r\n")[2:]  # RFC 5321, 4.5.2: the first dot of a line is taken off
        if too_large or len(raw) > self._size_limit:
            self.conclude([OVERSIZE] * len(self.transaction.recipients))
        else:
            self.transaction.raw, self.state = raw, State.waiting
        return True

    def _bound(self) -> None:
        # Stuffing adds a dot to lines of three bytes and more: above 4/3 the mail is too large, however its end is cut.
        if len(self._input) > self._size_limit // 3 * 4 + LINE_LIMIT:
            self._too_large = True
            del self._input[: -len(_END)]
