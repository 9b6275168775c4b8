"""The senders as a stage has them: load.py, which runs where the hosts are reached, and the number of each mail."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import IO

from restante.drills.history import Writer
from restante.drills.process import apart, end
from restante.errors import FoundError


class Senders:
    """`argv` runs load.py. What it says becomes history; `sent` counts the mails, whose numbers begin with 1."""

    def __init__(self, argv: Sequence[str], history: Writer) -> None:
        self.sent = 0
        self._history, self._turn = history, threading.Lock()
        self._process = apart(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    def send(self, kind: str, inboxes: Sequence[str]) -> int:
        """The mail's number, from any thread: a stream and a scenario send at once. The inboxes take turns."""
        with self._turn, self._there() as stdin:
            self.sent += 1
            inbox = inboxes[(self.sent - 1) % len(inboxes)]
            stdin.write(json.dumps({"n": self.sent, "inbox": inbox, "subject": f"{kind} {self.sent}"}) + "\n")
            return self.sent

    def finish(self) -> None:
        """No more mail. They go on with what they have."""
        with self._there() as stdin:
            stdin.close()

    def stop(self) -> None:
        end(self._process)
        with contextlib.suppress(OSError):  # of a line that nobody read any more
            assert self._process.stdin
            self._process.stdin.close()
        self._hearing.join(5)

    def _hear(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._history.add(json.loads(line))

    @contextlib.contextmanager
    def _there(self) -> Iterator[IO[str]]:
        assert self._process.stdin
        try:
            yield self._process.stdin
        except OSError:
            raise FoundError("drill: the senders have ended before their time; something else stopped them") from None
