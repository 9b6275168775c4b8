"""A post host under test: what is sent to it, what an agent gets from it, and what its ledger says."""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from test_examples import Fleet, until

INBOX = "support@example.org"
HERE = Path(__file__).parent
STATE = "/var/lib/restante/post"


class PostHost:
    """`address` is where its Postfix listens."""

    def __init__(self, fleet: Fleet, name: str, address: str) -> None:
        self.fleet, self.name, self.address = fleet, name, address
        self.machine = fleet.lab.host(name)

    def sh(self, script: str) -> str:
        return self.fleet.on(self.name, script)

    def tries(self, script: str) -> bool:
        return self.machine.exec(["sh", "-c", script]).returncode == 0

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        text = json.dumps(body) if body is not None else ""
        script = f"{(HERE / 'agent.py').read_text()}\nprint(json.dumps(call(*sys.argv[1:])[1]))"
        return json.loads(self.sh(shlex.join(["python3", "-c", script, method, path, text])))

    def metric(self, name: str) -> int:
        """Of the post office, one that has no labels."""
        shown = self.sh("curl -fs --unix-socket /run/restante/admin.sock http://localhost/metrics")
        return int(float(next(line.split()[1] for line in shown.splitlines() if line.startswith(f"{name} "))))

    def ready(self) -> None:
        """Postfix, the post office and its store answer."""
        until(
            lambda: self.tries("curl -fs --unix-socket /run/restante/admin.sock http://localhost/readyz"),
            "readiness",
            60,
        )
        until(lambda: self.tries("postqueue -f && ss -Hltn sport = :25 | grep -q 25"), "Postfix", 60)

    def kill(self, unit: str) -> None:
        """kill -9; returns when it is there again."""
        before = self.pid(unit)
        self.sh(f"systemctl kill -s KILL {unit}")
        until(lambda: self.pid(unit) not in {before, "0"}, f"a restart of {unit}", 60)

    def pid(self, unit: str) -> str:
        return self.sh(f"systemctl show -P MainPID {unit}")

    def queued(self) -> int:
        return len(self.sh("postqueue -j").splitlines())

    def emptied(self) -> None:
        """Postfix's queue holds nothing any more: what came late is stored too."""

        def empty() -> bool:
            self.tries("postqueue -f")
            return self.queued() == 0

        until(empty, "an empty queue", 60)

    def everything(self, inbox: str = INBOX) -> list[dict[str, Any]]:
        """Receive and acknowledge all there is; subject, duplicate_of and message_id of each."""
        script = f"{(HERE / 'agent.py').read_text()}\ndrain({inbox!r})"
        return [json.loads(line) for line in self.sh(shlex.join(["python3", "-c", script])).splitlines()]

    def raw(self, message: str, inbox: str = INBOX) -> bytes:
        """As the store has it; by base64, since a console is text."""
        path = shlex.quote(f"http://localhost/v1/inboxes/{inbox}/messages/{message}/raw")
        return base64.b64decode(self.sh(f"curl -fs --unix-socket /run/restante/admin.sock {path} | base64 -w0"))

    def epoch(self, inbox: str = INBOX) -> str:
        return str(self.ask("GET", f"/v1/inboxes/{inbox}")["head"]).partition(":")[0]

    def judge(self, *sent: int) -> None:
        """Nothing lost of what was answered 250, and no repeat that nobody explains."""
        self.emptied()
        found = self.everything()
        numbers = Counter(int(message["subject"].split()[1]) for message in found)
        assert not set(sent) - set(numbers), "answered 250, and lost"
        unmarked = Counter(int(message["subject"].split()[1]) for message in found if not message["duplicate_of"])
        assert not {number for number, times in unmarked.items() if times > 1}, "there twice, and not marked"

    def rcpt(self, recipient: str) -> str:
        """What Postfix answers."""
        script = "import smtplib; s = smtplib.SMTP('127.0.0.1', 25); s.ehlo('x.invalid'); s.mail('a@sender.invalid'); print(s.rcpt({!r}))"
        return self.sh(shlex.join(["python3", "-c", script.format(recipient)]))

    def change_store(self, statement: str) -> int:
        """By another hand, while the server is away; rows changed."""
        code = f"import sqlite3; d = sqlite3.connect('{STATE}/store.sqlite'); print(d.execute({statement!r}).rowcount); d.commit()"
        return int(self.sh(f"runuser -u restante-post -- python3 -c {shlex.quote(code)}"))

    def ledger(self) -> tuple[int, dict[str, Any]]:
        """Exit status and report of the host's own `restante ledger`."""
        done = self.machine.exec(["restante", "ledger", "--json"])
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


class Load:
    """A sender in the lab's network; `answered` are the numbers that got their 250, `given_up` whether one had none in time."""

    def __init__(self, host: PostHost, first: int, count: int, recipient: str = INBOX, pause_s: float = 0) -> None:
        script = [sys.executable, str(HERE / "load.py"), host.address, recipient, str(first), str(count), str(pause_s)]
        self._process = subprocess.Popen(
            [*host.fleet.lab.prefix(), *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.answered: list[int] = []
        self.given_up = False
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            with self._moved:
                self.answered.append(int(line))
                self._moved.notify_all()

    def reached(self, number: int) -> None:
        with self._moved:
            assert self._moved.wait_for(lambda: len(self.answered) >= number, 60), f"{len(self.answered)} of {number}"

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        """No further mail; the one that is under way is sent."""
        assert self._process.stdin
        self._process.stdin.close()

    def end(self) -> list[int]:
        self.given_up = self._process.wait(180) != 0
        self._thread.join()
        return self.answered


class Listener:
    """An agent on the host that asks for every message it is told of. `end` gives the status of each answer."""

    def __init__(self, host: PostHost) -> None:
        self._host = host
        script = f"{(HERE / 'agent.py').read_text()}\nlisten({INBOX!r})"
        command = host.machine.console_command(["python3", "-u", "-c", script], 120)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout
        assert self._process.stdout.readline() == "listening\n"

    def end(self) -> list[int]:
        self._host.sh("touch /run/enough")
        shown, _ = self._process.communicate(timeout=60)
        self._host.sh("rm /run/enough")
        return [int(line.split()[0]) for line in shown.splitlines()]
