"""Postfix as the kit renders it, on real hosts of both releases, with a stub behind it that refuses on demand."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.lab.lab import Lab
from restante.lab.machine import lab_directory

pytestmark = pytest.mark.lab
SPEC = """
restante: 1
domain: agents.example.org
agents: 200
hosts:
  old: {ipv4: 192.0.2.31, os: debian-12, tiers: [post]}
  new: {ipv4: 192.0.2.32, os: debian-13, tiers: [post]}
  store: {ipv4: 192.0.2.33, os: debian-13, tiers: [store]}
inboxes: {domains: [example.org], predefined: [support, sales, postmaster]}
store: {engine: postgresql, lab: true}
tls: {lab: true}
firewall: {enabled: true}
"""
# The command, with the stub in the place of the post office's code.
COMMAND = f"""
from pathlib import Path
from restante.deploy import wheelhouse
stub = Path({str(Path(__file__).with_name("stub_office.py"))!r}).read_bytes()
whole = wheelhouse.package()
wheelhouse.package = lambda: {{**whole, "restante/server/__main__.py": stub}}
from restante.__main__ import run
run()
"""
DIALOG = """
import smtplib, sys
host, sender, *recipients = sys.argv[1:]
with smtplib.SMTP(host, 25, local_hostname="client.example", timeout=20) as client:
    client.ehlo()
    client.mail(sender)
    for recipient in recipients:
        print(*client.rcpt(recipient))
    try:
        print(*client.data("Subject: hello\\r\\n\\r\\n" + "x" * 5000 + "\\r\\n"))
    except smtplib.SMTPDataError as refused:
        print(*refused.args)
"""
HOSTS = {"old": "192.0.2.31", "new": "192.0.2.32"}
STATE = "/var/lib/restante/post"
MAP = "/var/lib/restante/recipients/recipients.sqlite"


class Post:
    def __init__(self, spec: Path) -> None:
        self.spec, self.lab = spec, Lab(lab_directory(spec))

    def restante(self, *argv: str) -> str:
        done = subprocess.run([sys.executable, "-c", COMMAND, *argv], capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def on(self, host: str, script: str) -> str:
        done = self.lab.host(host).exec(["sh", "-c", script])
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def change_map(self, host: str, statement: str) -> None:
        code = f"import sqlite3; d = sqlite3.connect({MAP!r}); d.execute({statement!r}); d.commit()"
        self.on(host, f"runuser -u restante-post -- python3 -c {shlex.quote(code)}")

    def send(self, host: str, *recipients: str, sender: str = "a@sender.example") -> list[str]:
        """Replies to each RCPT, and to the mail."""
        argv = [*self.lab.prefix(), sys.executable, "-c", DIALOG, HOSTS[host], sender, *recipients]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()

    def connects(self, host: str, port: int) -> bool:
        code = f"import socket; socket.create_connection(({host!r}, {port}), 2)"
        argv = [*self.lab.prefix(), sys.executable, "-c", code]
        return subprocess.run(argv, capture_output=True, timeout=20, check=False).returncode == 0

    def kept(self, host: str) -> int:
        return int(self.on(host, f"ls {STATE} | grep -c eml || true"))

    def queued(self, host: str) -> str:
        return self.on(host, "postqueue -j")


@pytest.fixture(scope="module")
def post(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    spec = tmp_path_factory.mktemp("post") / "restante.yml"
    spec.write_text(SPEC)
    made = Post(spec)
    try:
        made.restante("lab", "up", str(spec))
        made.restante("deploy", str(spec), "--lab")
        yield made
    finally:
        made.restante("lab", "down", str(spec))


def until(condition: object, what: str, limit_s: float = 20) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"{what} did not happen within {limit_s} s"
        time.sleep(0.3)


def test_a_second_deploy_changes_nothing(post: Post) -> None:
    assert "3 hosts: 3 unchanged" in post.restante("deploy", str(post.spec), "--lab")


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_answered_at_rcpt(post: Post, host: str) -> None:
    before = post.kept(host)
    said = post.send(host, "support@example.org", "SALES@example.ORG", "nobody@example.org", "x@elsewhere.example")
    assert [line[:3] for line in said] == ["250", "250", "550", "554", "250"]
    until(lambda: post.kept(host) == before + 1, "delivery")
    assert post.send(host, "postmaster", sender="")[0].startswith("250")
    until(lambda: post.kept(host) == before + 2, "delivery to postmaster")
    post.change_map(
        host, "UPDATE recipient SET reply = '452 4.2.2 The mailbox is full' WHERE address = 'support@example.org'"
    )
    said = post.send(host, "support@example.org", "sales@example.org")
    assert "452" in said[0]
    assert "4.2.2" in said[0]
    assert said[1].startswith("250")
    post.change_map(host, "INSERT INTO state VALUES ('452 4.3.1 Too little free space')")
    assert [line[:3] for line in post.send(host, "sales@example.org", "nobody@example.org")][:2] == ["452", "550"]
    post.change_map(host, "DELETE FROM state")
    post.change_map(host, "UPDATE recipient SET reply = 'OK'")


@pytest.mark.parametrize("host", HOSTS)
def test_what_the_post_office_refuses_waits_and_is_held_and_never_returned(post: Post, host: str) -> None:
    before = post.kept(host)
    post.on(host, f"echo '550 5.3.0 a mistake of ours' > {STATE}/refuse")
    assert post.send(host, "support@example.org", sender="victim@elsewhere.example")[-1].startswith("250")
    until(lambda: "deferred" in post.queued(host), "deferral")
    assert "MAILER-DAEMON" not in post.queued(host)
    time.sleep(1.2)  # queue-watch looks for mail older than so many whole seconds
    post.on(host, "/usr/local/lib/restante/queue-watch 1")
    assert '"queue_name": "hold"' in post.queued(host)
    assert "on hold" in post.on(host, "journalctl --no-pager -o cat -n 300 | cat; echo on hold")
    post.on(host, f"rm {STATE}/refuse; postsuper -H ALL; touch {STATE}/flush")
    until(lambda: post.kept(host) == before + 1, "delivery after the flush")
    assert post.queued(host) == ""


@pytest.mark.parametrize("host", HOSTS)
def test_mail_is_taken_while_the_post_office_is_away_and_handed_over_when_it_is_back(post: Post, host: str) -> None:
    before = post.kept(host)
    post.on(host, "systemctl stop restante-server.service restante-lmtp.socket")
    assert [line[:3] for line in post.send(host, "support@example.org", "nobody@example.org")] == ["250", "550", "250"]
    until(lambda: "deferred" in post.queued(host), "deferral")
    post.on(host, "systemctl start restante-lmtp.socket restante-server.service")
    until(lambda: post.kept(host) == before + 1, "delivery at the start")


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_killed_comes_back(post: Post, host: str) -> None:
    post.on(host, "pkill -9 -x master; pkill -9 -x smtpd; pkill -9 -f '[l]ib/restante/server'; true")
    until(lambda: post.connects(HOSTS[host], 25), "Postfix's return", 30)
    before = post.kept(host)
    assert post.send(host, "support@example.org")[-1].startswith("250")
    until(lambda: post.kept(host) == before + 1, "delivery", 30)


@pytest.mark.parametrize("host", HOSTS)
def test_a_daemon_that_starts_in_the_second_of_a_deploy_takes_mail(post: Post, host: str) -> None:
    """Postfix reads a main.cf that is younger than a second again and again, and differently; master then waits a minute."""
    before = post.kept(host)
    post.on(host, "pkill -x smtpd; touch /etc/postfix/main.cf")
    assert [line[:3] for line in post.send(host, "support@example.org", "nobody@example.org")] == ["250", "550", "250"]
    until(lambda: post.kept(host) == before + 1, "delivery")


def test_only_those_who_need_it_reach_a_port(post: Post) -> None:
    for address in HOSTS.values():
        assert post.connects(address, 25)
        assert not post.connects(address, 8025)
    assert not post.connects("192.0.2.33", 5432)


@pytest.mark.parametrize("host", HOSTS)
def test_the_store_opens_to_the_password_and_to_nothing_else(post: Post, host: str) -> None:
    """As the post office will: libpq of the wheels, the credential's file, TLS with channel binding; tables are the owner's."""
    code = """
import sys, tomllib
from pathlib import Path
sys.path.insert(0, str(next(Path("/opt/restante/server").iterdir())))
import psycopg
url = tomllib.loads(Path("/etc/restante/restante.toml").read_text())["store"]["url"]
password = Path("/etc/restante/credentials/post/store-password").read_text()
with psycopg.connect(url, password=password) as connection:
    print(connection.execute("SELECT current_user, rolsuper FROM pg_roles WHERE rolname = current_user").fetchone())
    print([connection.execute(f"SHOW {name}").fetchone()[0] for name in ("fsync", "synchronous_commit", "full_page_writes")])
with psycopg.connect(url, password=password, autocommit=True) as connection:
    for role in ("restante", "restante_owner"):
        connection.execute(f"SET ROLE {role}")
        try:
            connection.execute("CREATE TABLE tried(x int)"), connection.execute("DROP TABLE tried")
            print(role, "creates tables")
        except psycopg.errors.InsufficientPrivilege:
            print(role, "creates none")
try:
    psycopg.connect(url, password="wrong")
except psycopg.OperationalError as error:
    print("refused" if "authentication failed" in str(error) else error)
"""
    said = post.on(host, f"cat > /run/try.py <<'END'\n{code}\nEND\npython3 /run/try.py").splitlines()
    roles = ["restante creates none", "restante_owner creates tables"]
    assert said == ["('restante', False)", "['on', 'on', 'on']", *roles, "refused"]


def test_a_rollback_starts_the_code_before(post: Post) -> None:
    first = post.on("new", "ls /opt/restante/server")
    shown = "tr '\\0' ' ' < /proc/$(systemctl show -P MainPID restante-server.service)/environ"
    generation = post.on("new", f"{shown} | grep -o 'GENERATION=[^ ]*'")
    post.spec.write_text(SPEC.replace("agents: 200", "agents: 5000"))
    post.restante("deploy", str(post.spec), "--lab")
    assert post.on("new", f"{shown} | grep -o 'GENERATION=[^ ]*'") != generation
    post.restante("deploy", str(post.spec), "--lab", "--rollback", "--limit", "new")
    assert post.on("new", f"{shown} | grep -o 'GENERATION=[^ ]*'") == generation
    assert post.on("new", "ls /opt/restante/server") == first
    assert post.on("new", "systemctl is-system-running") == "running"
