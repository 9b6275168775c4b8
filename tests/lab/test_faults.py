"""What the mail stack survives on a real host: kills, a power cut, a store that is away, a full inbox. A ledger compares both ends.

A sender that loses its connection before the 250 sends again, and rightly: such a repeat is a mail of its own to Postfix, and is marked
`duplicate_of`. Any other repeat is unexplained.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_examples import Fleet, until

pytestmark = pytest.mark.lab
INBOX = "support@example.org"
LOAD = Path(__file__).with_name("load.py")
ADMIN = """
import http.client, socket, sys
class Admin(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/run/restante/admin.sock")
admin = Admin("localhost", timeout=60)
admin.request(sys.argv[1], sys.argv[2], sys.argv[3] or None, {"Content-Type": "application/json"})
print(admin.getresponse().read().decode())
"""


class Host:
    """The one host of single-host.yml."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.machine = fleet.lab.host("solo")

    def sh(self, script: str) -> str:
        return self.fleet.on("solo", script)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        text = json.dumps(body) if body is not None else ""
        return json.loads(self.sh(shlex.join(["python3", "-c", ADMIN, method, path, text])))

    def ready(self) -> None:
        """Postfix, the post office and its store answer."""
        until(
            lambda: self._try("curl -fs --unix-socket /run/restante/admin.sock http://localhost/readyz"),
            "readiness",
            60,
        )
        until(lambda: self._try("postqueue -f && ss -Hltn sport = :25 | grep -q 25"), "Postfix", 60)

    def _try(self, script: str) -> bool:
        return self.machine.exec(["sh", "-c", script]).returncode == 0

    def pid(self, unit: str) -> str:
        return self.sh(f"systemctl show -P MainPID {unit}")

    def kill(self, unit: str) -> None:
        before = self.pid(unit)
        self.sh(f"systemctl kill -s KILL {unit}")
        until(lambda: self.pid(unit) not in {before, "0"}, f"a restart of {unit}", 60)

    def emptied(self) -> None:
        """Postfix's queue holds nothing any more: what came late is stored too."""

        def empty() -> bool:
            self._try("postqueue -f")
            return self.sh("postqueue -j") == ""

        until(empty, "an empty queue", 60)

    def everything(self, inbox: str = INBOX) -> list[dict[str, Any]]:
        """Receive and acknowledge all there is."""
        found: list[dict[str, Any]] = []
        path = f"/v1/inboxes/{inbox}"
        while items := self.ask("POST", f"{path}/receive", {"max_messages": 50})["items"]:
            found += [item["message"] for item in items]
            results = self.ask("POST", f"{path}/ack", {"receipt_handles": [item["receipt_handle"] for item in items]})
            assert {each["result"] for each in results["results"]} == {"ok"}
        return found


class Load:
    """A sender in the lab's network; `answered` are the numbers that got their 250."""

    def __init__(self, host: Host, first: int, count: int, recipient: str = INBOX) -> None:
        script = [sys.executable, str(LOAD), "192.0.2.31", recipient, str(first), str(count)]
        self._process = subprocess.Popen([*host.fleet.lab.prefix(), *script], stdout=subprocess.PIPE, text=True)
        self.answered: list[int] = []
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

    def end(self) -> list[int]:
        self._process.wait(120)
        self._thread.join()
        return self.answered


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    fleet = Fleet(tmp_path_factory.mktemp("faults"), "single-host")
    try:
        fleet.restante("up")
        fleet.deploy()
        made = Host(fleet)
        made.ready()
        yield made
    finally:
        fleet.restante("down")


def judged(host: Host, sent: list[int]) -> None:
    """Nothing lost, and no repeat that nobody explains."""
    host.emptied()
    found = host.everything()
    numbers = Counter(int(message["subject"].split()[1]) for message in found)
    assert not set(sent) - set(numbers), "answered 250, and lost"
    unmarked = Counter(int(message["subject"].split()[1]) for message in found if not message["duplicate_of"])
    assert not {number for number, times in unmarked.items() if times > 1}, "there twice, and not marked"


def test_kills_of_the_post_office_and_of_postfix_under_load_lose_nothing(host: Host) -> None:
    load = Load(host, 0, 150)
    for number, unit in ((20, "restante-server.service"), (60, "postfix@-.service"), (100, "restante-server.service")):
        load.reached(number)
        host.kill(unit) if unit.startswith("restante") else host.sh("pkill -KILL -x master; systemctl restart postfix")
    assert load.end() == list(range(150))
    host.ready()
    judged(host, load.answered)


def test_a_power_cut_under_load_loses_nothing_that_was_answered(host: Host) -> None:
    load = Load(host, 1000, 80)
    load.reached(30)
    host.machine.power_cut()
    host.machine.power_on()
    assert load.end() == list(range(1000, 1080))
    host.ready()
    judged(host, load.answered)


def test_mail_comes_in_while_the_post_office_is_away_and_is_there_at_once_when_it_is_back(host: Host) -> None:
    host.sh("systemctl stop restante-server.service")
    load = Load(host, 2000, 20)
    assert load.end() == list(range(2000, 2020))
    host.sh("systemctl start restante-server.service")
    host.ready()
    until(lambda: len(host.ask("GET", f"/v1/inboxes/{INBOX}/messages?limit=1000")["items"]) >= 20, "the flush", 30)
    judged(host, load.answered)


def test_a_restart_under_load_refuses_no_connection(host: Host) -> None:
    """The sockets are systemd's: who connects in between waits."""
    probe = "for i in $(seq 40); do curl -s -o /dev/null -w '%{http_code}\\n' --max-time 20 http://127.0.0.1:8025/healthz; done"
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.extend(host.sh(probe).split()))
    thread.start()
    host.sh("systemctl restart restante-server.service")
    thread.join()
    assert set(answers) <= {"200", "503"}, answers
    host.ready()


def test_of_two_recipients_the_full_one_is_refused_for_now_and_the_other_gets_its_mail_once(host: Host) -> None:
    host.ask("PATCH", "/v1/inboxes/sales@example.org", {"quota_bytes": 0})
    until(lambda: "452" in host.sh(_rcpt("sales@example.org")), "Postfix's answer for the full inbox", 20)
    assert "250" in host.sh(_rcpt(INBOX))
    assert Load(host, 3000, 1).end() == [3000]
    judged(host, [3000])
    host.ask("PATCH", "/v1/inboxes/sales@example.org", {"quota_bytes": None})
    until(lambda: "250" in host.sh(_rcpt("sales@example.org")), "room again", 20)


def _rcpt(recipient: str) -> str:
    script = "import smtplib; s = smtplib.SMTP('127.0.0.1', 25); s.ehlo('x.invalid'); s.mail('a@sender.invalid'); print(s.rcpt({!r}))"
    return shlex.join(["python3", "-c", script.format(recipient)])


def test_no_mail_is_unexplained_at_the_end(host: Host) -> None:
    """By Postfix's own log against the store, as `restante ledger` reads them."""
    from restante.cli.ledger import read_log, unexplained

    mta = read_log(host.sh("journalctl --no-pager -o cat -t postfix/qmgr -t postfix/lmtp").splitlines())
    assert len(mta.taken) > 200
    answer = host.ask("POST", "/v1/ledger/unknown", {"queue_ids": list(mta.sent)})
    assert list(unexplained(mta, set(answer["unknown"]))) == []
    totals = host.ask("GET", "/v1/ledger")
    assert (totals["ready"], totals["leased"], totals["dead"]) == (0, 0, 0)
