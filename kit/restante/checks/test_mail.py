"""Post and store hosts: what Postfix and the store really do, read from them and tried from outside."""

from __future__ import annotations

import smtplib
import socket
import uuid
from typing import Any

import pytest
from bundle import BACKUP_UNIT, Bundle, Expected, expect

check = pytest.mark.check
PATIENCE_S = 10
OFFICE_ROLE = "role restante"  # as the collector calls it
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_level": "replica"}
# Parameter -> key of the plan, or what it must be: what G1 and G6 stand on, as Postfix itself reports it.
PLANNED = {
    "message_size_limit": "mail.message_size",
    "maximal_queue_lifetime": "queue.lifetime",
    "bounce_queue_lifetime": "queue.lifetime",
    "queue_run_delay": "queue.run_delay",
    "minimal_backoff_time": "queue.minimal_backoff",
    "maximal_backoff_time": "queue.maximal_backoff",
    "lmtp_destination_concurrency_limit": "lmtp.concurrency",
}
FIXED = {
    "virtual_transport": "lmtp:unix:restante/lmtp.sock",
    "smtpd_relay_restrictions": "reject_unauth_destination",
    "smtpd_forbid_bare_newline": "normalize",
    "enable_long_queue_ids": "yes",
    "lmtp_send_xforward_command": "yes",
    "lmtp_line_length_limit": "0",
    "smtputf8_enable": "yes",
    "mydestination": "",
    "relay_domains": "",
    "lmtp/unix/soft_bounce": "yes",
}


def address(bundle: Bundle, host: str) -> str:
    return str(bundle.plan["hosts"][host]["addresses"][0])


def replies(bundle: Bundle, host: str, recipients: list[str]) -> list[int]:
    """Codes of RCPT, from here; no mail is sent."""
    try:
        with smtplib.SMTP(address(bundle, host), 25, local_hostname="verify.invalid", timeout=PATIENCE_S) as client:
            client.ehlo()
            client.mail("")
            return [client.rcpt(recipient)[0] for recipient in recipients]
    except (OSError, smtplib.SMTPException) as error:
        raise Expected(f"SMTP on {address(bundle, host)}:25", error) from None


def connects(bundle: Bundle, host: str, port: int) -> bool:
    try:
        socket.create_connection((address(bundle, host), port), 2).close()
    except OSError:
        return False
    return True


@check(id="postfix-as-planned", cause=7, key="outage", component="postfix")
def test_postfix(bundle: Bundle, facts: dict[str, Any]) -> None:
    wanted = {name: str(bundle.value(key)) for name, key in PLANNED.items()} | FIXED
    for name, value in wanted.items():
        found = facts["postfix"].get(name, "nothing")
        expect(f"{name} of Postfix", value, found.removesuffix("s") if value.isdigit() else found)
    expect(
        "virtual_mailbox_domains",
        ", ".join(bundle.plan["mail"]["domains"]),
        facts["postfix"]["virtual_mailbox_domains"],
    )


@check(id="no-open-relay", cause=7, key="inboxes.domains", component="postfix")
def test_relay(bundle: Bundle, host_name: str) -> None:
    domain = bundle.plan["mail"]["domains"][0]
    tricks = [
        "a@elsewhere.invalid",
        f"a%elsewhere.invalid@{domain}",
        f"@{domain}:a@elsewhere.invalid",
        "root@localhost",
    ]
    for trick, code in zip(tricks, replies(bundle, host_name, tricks), strict=True):
        if not 500 <= code <= 599:
            raise Expected(f"5xx for {trick}, which is nobody of ours", code)


@check(id="recipients-known", cause=7, key="inboxes.predefined", component="postfix")
def test_recipients(bundle: Bundle, host_name: str) -> None:
    """Who is unknown is refused while the sender still has the mail; a predefined inbox may be full, but is there."""
    known = bundle.plan["mail"]["predefined"]
    unknown = f"verify-{uuid.uuid4().hex}@{bundle.plan['mail']['domains'][0]}"
    first, *others = replies(bundle, host_name, [unknown, *known])
    expect(f"answer to {unknown}", 550, first)
    for inbox, code in zip(known, others, strict=True):
        if code not in {250, 452}:
            raise Expected(f"250, or 452 while it is full, for {inbox}", code)


@check(id="mail-ports-closed", cause=7, key="firewall", component="")
def test_closed(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    """LMTP is on no port at all; HTTP and the store are for those the plan names, and not for this machine."""
    if not bundle.plan["mail"]:
        return
    local = [line.split()[3] for line in facts["listening"].splitlines()]
    if found := [place for place in local if place.rpartition(":")[2] in {"24", "465", "587", "2003"}]:
        raise Expected("no LMTP or submission port", found)
    planned = {
        f"{place}:8025" if ":" not in place else f"[{place}]:8025"
        for place in bundle.plan["mail"]["http"].get(host_name, ())
    }
    expect("the post office's HTTP listens on", planned, {place for place in local if place.endswith(":8025")})
    if bundle.plan["firewall"]:
        for port in (8025, 5432):
            if connects(bundle, host_name, port):
                raise Expected(
                    f"port {port} closed to all but its clients",
                    f"{address(bundle, host_name)}:{port} connects from here",
                )


@check(id="store-durable", cause=7, key="store", component="space")
def test_durable(facts: dict[str, Any]) -> None:
    """What the running engine says, not its files; a member that follows may lead in the next minute."""
    for name, value in DURABLE.items():
        expect(f"{name} of PostgreSQL", value, facts["postgresql"].get(name))


@check(id="store-role-bound", cause=7, key="store", component="space")
def test_role(facts: dict[str, Any]) -> None:
    """The post office reads and writes rows; it owns nothing, and makes nothing."""
    expect("attributes and ownings of the role restante", "none", facts["postgresql"].get(OFFICE_ROLE))


@check(id="cluster-whole", cause=7, key="store", component="cluster")
def test_cluster(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    """As this member knows it: one leads, one has every commit, all follow, and etcd is healthy on each."""
    found, names = facts["cluster"], bundle.with_component("cluster")
    if "members" not in found:
        raise Expected("a member that answers", found["said"])
    expect("etcd is healthy on", sorted(names), sorted(name for name, good in found["etcd"].items() if good))
    roles = {each["name"]: each["role"] for each in found["members"] if each["state"] in {"running", "streaming"}}
    expect("members that serve or follow", sorted(names), sorted(roles))
    expect("members that lead", 1, list(roles.values()).count("leader"))
    expect("members that have every commit", 1, list(roles.values()).count("sync_standby"))
    own = next(each for each in found["members"] if each["name"] == host_name)
    expect(
        "its timeline is the leader's",
        {own["timeline"]},
        {e["timeline"] for e in found["members"] if e["role"] == "leader"},
    )
    expect("automatic failover is paused", False, found["paused"])
    expect(
        "the settings that members share, strict synchronous replication among them, are the kit's",
        True,
        found["shared"],
    )


@check(id="identity-fresh", cause=4, key="store.engine", component="identity")
def test_identity(facts: dict[str, Any]) -> None:
    """The certificates for the other hosts renew themselves."""
    for path, said in facts["certificates"].items():
        expect(f"{path} is renewed in time", "Certificate will not expire", said.strip())


@check(id="post-office-ready", cause=7, key="store", component="post")
def test_office(bundle: Bundle, facts: dict[str, Any]) -> None:
    """It says so itself, and its connection to the store commits durably (SQLite: per connection, so only it can tell)."""
    expect("the post office is", "ready", facts["office"].get("status"))
    expect("engine of its store", bundle.plan["mail"]["engine"], facts["office"].get("engine"))
    if bundle.plan["mail"]["engine"] == "sqlite":
        expect("its durability", {"journal_mode": "wal", "synchronous": "full"}, facts["office"].get("durability"))


@check(id="backup-fresh", cause=7, key="store.backup", component="backup")
def test_backup(bundle: Bundle, facts: dict[str, Any]) -> None:
    """On a host of this minute the first may still be on its way; one that failed is not."""
    timer, service = facts["units"]["restante-backup.timer"]["SubState"], facts["units"][BACKUP_UNIT]
    if timer not in {"waiting", "running"}:
        raise Expected("restante-backup.timer waits for its next round, or runs one", timer)
    limit = bundle.value("backup.stale_after")
    if not facts["backups"]:
        expect(f"without a backup {BACKUP_UNIT} makes the first", "start", service["SubState"])
    elif facts["now"] - facts["backups"][-1] > limit:
        raise Expected(
            f"a backup of the last {limit} s", f"the newest is {facts['now'] - facts['backups'][-1]:.0f} s old"
        )


@check(id="backup-tried", cause=7, key="store.backup", component="restore")
def test_trial(bundle: Bundle, facts: dict[str, Any]) -> None:
    """Its timer runs, and the last trial, when there was time for one, restored a backup of not long ago."""
    timer = facts["units"]["restante-trial.timer"]["SubState"]
    if timer not in {"waiting", "running"}:
        raise Expected("restante-trial.timer waits for its next round, or runs one", timer)
    limit = bundle.value("backup.trial_stale_after") * 86400
    if facts["trial"] and facts["now"] - facts["trial"]["made_at"] > limit:
        raise Expected(
            f"a backup tried in the last {limit} s",
            f"the last was {facts['now'] - facts['trial']['made_at']:.0f} s ago",
        )
