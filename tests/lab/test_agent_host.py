"""A program with the SDK on a real host: deployed, verified, stalled, and restarted by systemd."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mail_host import INBOX, PostHost
from test_examples import Fleet, until

from restante.lab.authority import issue

pytestmark = pytest.mark.lab
AGENT = """
import time
from restante import Mailbox

for delivery in Mailbox().consume():
    with delivery:
        print("handles", delivery.message.subject, "attempt", delivery.attempt, flush=True)
        if delivery.message.subject == "freeze" and delivery.attempt == 1:
            time.sleep(3600)
"""
DOMAIN = "agents.example.org"
SERVICE = """
services:
  crm:
    host: solo
    user: crm
    exec: /usr/bin/python3 /opt/crm/agent.py
    files: {/opt/crm/agent.py: "file:agent.py"}
    agent: {inbox: support, token: env:CRM_TOKEN}
    environment: {SSL_CERT_FILE: /etc/ssl/lab-authority.pem}
    watchdog: 10s
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostHost]:
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("agent")
    (folder / "agent.py").write_text(AGENT)
    fleet = Fleet(folder, "single-host")
    fleet.spec.write_text(fleet.original.replace("tiers: [edge, post]", "tiers: [edge, post, agent]"))
    try:
        fleet.restante("up")
        fleet.deploy()
        solo = PostHost(fleet, "solo", "192.0.2.31")
        authority = (fleet.lab.authority / "ca.pem").read_text()
        solo.sh(f"cat > /etc/ssl/lab-authority.pem <<'END'\n{authority}END\necho 192.0.2.31 {DOMAIN} >> /etc/hosts")
        patch.setenv("CRM_TOKEN", solo.sh(f"restante token create crm --allow {INBOX}=receive,read"))
        fleet.spec.write_text(fleet.spec.read_text() + SERVICE)
        fleet.deploy()
        yield solo
    finally:
        fleet.restante("down")
        patch.undo()


def journal(host: PostHost) -> str:
    return host.sh("journalctl -u crm -o cat")


def send(host: PostHost, subject: str) -> None:
    mail = f"printf 'Subject: {subject}\\n\\nhello\\n' | sendmail -f a@sender.invalid {INBOX}"
    host.sh(mail)


def test_an_agent_handles_mail_and_verify_sees_it_connected(host: PostHost) -> None:
    send(host, "first")
    until(lambda: "handles first attempt 1" in journal(host), "the first mail handled")
    until(lambda: "websocket up; heartbeat" in host.sh("systemctl show -P StatusText crm"), "a heartbeat", 40)
    shown = host.fleet.restante("verify", "--lab", "--quick")
    assert "agent-connected" in shown
    assert ", 0 failed" in shown
    assert "service-watchdog" in shown


def test_a_frozen_agent_is_restarted_by_the_watchdog_and_has_its_mail_again(host: PostHost) -> None:
    send(host, "freeze")
    until(lambda: "handles freeze attempt 1" in journal(host), "the mail in its hands")
    before = host.pid("crm")
    host.sh("systemctl kill -s STOP crm")
    until(lambda: host.pid("crm") not in {before, "0"}, "a restart by the watchdog", 60)
    until(lambda: "handles freeze attempt 2" in journal(host), "its mail again, at once", 20)
    send(host, "last")
    until(lambda: "handles last attempt 1" in journal(host), "the next mail")


def status(host: PostHost) -> str:
    return host.sh("systemctl show -P StatusText crm")


def stands(host: PostHost) -> bool:
    """Through the edge: nginx holds the agent's socket."""
    return status(host).startswith("websocket up")


def test_a_restart_of_nginx_is_noticed_at_once_and_costs_no_mail(host: PostHost) -> None:
    until(lambda: stands(host), "a socket through the edge", 40)
    host.sh("systemctl restart nginx")
    send(host, "during the restart")
    until(lambda: "handles during the restart attempt 1" in journal(host), "the mail of meanwhile", 15)
    until(lambda: stands(host), "the socket again", 30)


OPENED = "restante_socket_opens_total"


def test_a_reload_with_another_certificate_cuts_nobody_and_new_sockets_take_it(host: PostHost) -> None:
    until(lambda: stands(host), "a socket through the edge", 40)
    before = host.metric(OPENED)
    chain, key = issue(host.fleet.lab.authority, DOMAIN)
    for name, content in (("privkey.pem", key), ("fullchain.pem", chain)):
        host.machine.exec(["sh", "-c", f"cat > /etc/restante/tls/{name}.new"], input=content)
    host.sh("cd /etc/restante/tls && mv privkey.pem.new privkey.pem && mv fullchain.pem.new fullchain.pem")
    until(lambda: host.metric(OPENED) > before, "another socket, long before the old one is cut", 10)
    send(host, "after the reload")
    until(lambda: "handles after the reload attempt 1" in journal(host), "a signal", 10)
    host.kill("crm")
    until(lambda: stands(host), "a socket under the other certificate", 40)


def test_an_outage_of_the_post_office_kills_no_agent(host: PostHost) -> None:
    before = host.pid("crm")
    host.sh("systemctl stop restante-server.service restante-http.socket")
    until(lambda: " down; " in host.sh("systemctl show -P StatusText crm"), "it says that it is not connected", 60)
    assert ("agent-connected", "solo") in host.fleet.failed("--only", "agent-connected")
    assert host.pid("crm") == before
    host.sh("systemctl start restante-http.socket restante-server.service")
    host.ready()
    send(host, "after the outage")
    until(lambda: "handles after the outage attempt 1" in journal(host), "mail after the outage", 90)
    assert host.pid("crm") == before
