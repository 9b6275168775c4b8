"""Postfix as the kit renders it, on real hosts of both releases, with a stub behind it that refuses on demand."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from restante.lab.authority import certificate, issue
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
# One handshake a version; of each the serial number of what is shown, or why there is none.
STARTTLS = """
import smtplib, ssl, sys
host, authority, domain, *versions = sys.argv[1:]
for version in versions:
    context = ssl.create_default_context(cafile=authority)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_ciphers("ALL:@SECLEVEL=0")  # it would not offer what is old
    with smtplib.SMTP(host, 25, local_hostname="client.example", timeout=20) as client:
        client.ehlo()
        if (code := client.docmd("STARTTLS")[0]) != 220:
            print(code)
            continue
        try:
            client.sock = context.wrap_socket(client.sock, server_hostname=domain)
        except ssl.SSLError as refused:
            print(refused.reason)
            client.close()
            continue
        client.file = None
        assert client.ehlo()[0] == 250
        print(int(client.sock.getpeercert()["serialNumber"], 16))
"""
# Talks before it was greeted, and all the same goes on; prints the reply to RCPT.
IMPATIENT = """
import socket, sys
def reply():
    while (line := file.readline())[3:4] == b"-":
        pass
    return line.decode().strip()
with socket.create_connection((sys.argv[1], 25), 20) as connection, connection.makefile("rwb", 0) as file:
    file.write(b"EHLO client.example\\r\\n")
    reply()
    for command in (b"EHLO client.example", b"MAIL FROM:<a@sender.example>", b"RCPT TO:<support@example.org>"):
        file.write(command + b"\\r\\n")
        said = reply()
    print(said)
"""
HOSTS = {"old": "192.0.2.31", "new": "192.0.2.32"}
DOMAIN = "agents.example.org"
TLS = "/etc/restante/tls"
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
        return self.client(DIALOG, HOSTS[host], sender, *recipients)

    def put(self, host: str, name: str, content: str) -> None:
        """One of the certificate's files, in one step, as tools that renew do it."""
        script = f"cat > {TLS}/new && mv {TLS}/new {TLS}/{name}"
        assert self.lab.host(host).exec(["sh", "-c", script], input=content).returncode == 0

    def start_tls(self, host: str, *versions: str) -> list[str]:
        return self.client(STARTTLS, HOSTS[host], f"{self.lab.authority}/ca.pem", DOMAIN, *versions)

    def client(self, code: str, *argv: str) -> list[str]:
        command = [*self.lab.prefix(), sys.executable, "-c", code, *argv]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()

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


def serial(chain: str) -> str:
    return str(x509.load_pem_x509_certificate(chain.encode()).serial_number)


@pytest.mark.parametrize("host", HOSTS)
def test_who_says_starttls_gets_the_certificate_of_the_spec_and_nothing_older_than_tls_1_2(
    post: Post, host: str
) -> None:
    number = serial(certificate(post.lab.authority, DOMAIN)[0])
    refused = "TLSV1_ALERT_PROTOCOL_VERSION"
    assert post.start_tls(host, "TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3") == [refused, refused, number, number]


@pytest.mark.parametrize("host", HOSTS)
def test_a_renewed_certificate_is_shown_to_the_next_client_and_nothing_restarts(post: Post, host: str) -> None:
    master = "cat /var/spool/postfix/pid/master.pid"
    process, (before,) = post.on(host, master), post.start_tls(host, "TLSv1_3")
    chain, key = issue(post.lab.authority, DOMAIN)
    post.on(host, f"cp -a {TLS} /run/tls-before")
    try:
        post.put(host, "fullchain.pem", chain)
        until(lambda: "the old pair stays in use" in post.on(host, "journalctl -u restante-tls -o cat"), "an alert", 30)
        post.on(host, "postfix reload")
        assert post.start_tls(host, "TLSv1_3") == [before], "half a pair is served to nobody"
        post.put(host, "privkey.pem", key)
        until(lambda: post.start_tls(host, "TLSv1_3") == [serial(chain)], "the renewed certificate")
        assert post.on(host, master) == process
    finally:
        post.on(host, f"cp -a /run/tls-before/. {TLS} && rm -r /run/tls-before")
    until(lambda: post.start_tls(host, "TLSv1_3") == [before], "the certificate of before")


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


@pytest.fixture(scope="module")
def screened(post: Post) -> Post:
    """The same hosts with postscreen before smtpd; a deploy of a running Postfix, and the last of this module."""
    post.spec.write_text(f"{SPEC}smtp: {{postscreen: true}}\n")
    post.restante("deploy", str(post.spec), "--lab")
    return post


@pytest.mark.parametrize("host", HOSTS)
def test_behind_postscreen_who_talks_first_is_refused_and_who_waits_is_heard(screened: Post, host: str) -> None:
    """In this order: who has waited once need not for a day (postscreen_greet_ttl)."""
    before = screened.kept(host)
    (said,) = screened.client(IMPATIENT, HOSTS[host])
    assert said.startswith("550 5.5.1")
    said = [line[:3] for line in screened.send(host, "support@example.org", "nobody@example.org")]
    assert said == ["250", "550", "250"]
    until(lambda: screened.kept(host) == before + 1, "delivery")
