"""What the mail stack survives on real hosts, on both stores: kills, power cuts, a store that is away, a full disk, a full inbox.

A sender that loses its connection before the 250 sends again, and rightly: such a repeat is a mail of its own to Postfix, and is
marked `duplicate_of`. Any other repeat is unexplained.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from mail_host import HERE, INBOX, STATE, Listener, Load, PostHost
from test_examples import Fleet, until

pytestmark = pytest.mark.lab
OTHER = "sales@example.org"
SERVER = "restante-server.service"
ENGINE = "postgresql@17-main.service"

CARRIER = "carrier@sender.invalid"
SMUGGLED = (
    f"MAIL FROM:<smuggler@sender.invalid>\r\nRCPT TO:<{INBOX}>\r\nDATA\r\nSubject: smuggled\r\n\r\ninner\r\n".encode()
)
# What one server or another takes for the end of a mail, and what of it stands in the one that we keep. Of a line that begins with
# a dot that dot is gone (RFC 5321 4.5.2). Postfix makes CR LF of a bare LF, and nothing of a dot between two line ends one of
# which is bare ("normalize" in postconf(5)). The rest is as it was sent.
SMUGGLING = {
    "lf-dot-lf": ("DATA", b"\n.\n", b"\r\n"),
    "lf-dot-crlf": ("DATA", b"\n.\r\n", b"\r\n"),
    "lf-lf-dot-crlf": ("DATA", b"\n\n.\r\n", b"\r\n\r\n"),
    "crlf-dot-lf": ("DATA", b"\r\n.\n", b"\r\n"),
    "lf-dot-cr": ("DATA", b"\n.\r", b"\r\n\r"),
    "cr-dot-cr": ("DATA", b"\r.\r", b"\r.\r"),
    "cr-dot-crlf": ("DATA", b"\r.\r\n", b"\r.\r\n"),
    "crlf-dot-cr": ("DATA", b"\r\n.\r", b"\r\n\r"),
    "cr-crlf-dot-cr-crlf": ("DATA", b"\r\r\n.\r\r\n", b"\r\r\n\r\r\n"),
    "crlf-nul-dot-crlf": ("DATA", b"\r\n\0.\r\n", b"\r\n\0.\r\n"),
    "crlf-dot-nul-crlf": ("DATA", b"\r\n.\0\r\n", b"\r\n\0\r\n"),
    "a-dot-as-it-is-written": ("DATA", b"\r\n..\r\n", b"\r\n.\r\n"),
    # By length: what ends a DATA is content, and must not end the LMTP that it goes on by.
    "crlf-dot-crlf-by-length": ("BDAT", b"\r\n.\r\n", b"\r\n.\r\n"),
    "cr-dot-cr-by-length": ("BDAT", b"\r.\r", b"\r.\r"),
}


@dataclass
class Made:
    """A fleet, and what its second deploy and its verification said."""

    fleet: Fleet
    again: str = ""
    verified: str = ""

    def make(self) -> None:
        self.fleet.restante("up")
        self.fleet.deploy()
        self.again = self.fleet.deploy()
        self.verified = self.fleet.restante("verify", "--lab")


@pytest.fixture(scope="module")
def fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Made]]:
    """Both side by side: a verification waits for a minute."""
    made = {name: Made(Fleet(tmp_path_factory.mktemp(name), name)) for name in ("single-host", "two-tier")}
    try:
        with ThreadPoolExecutor() as pool:
            list(pool.map(Made.make, made.values()))
        yield made
    finally:
        for each in made.values():
            each.fleet.restante("down")


@pytest.fixture(scope="module")
def host(fleets: dict[str, Made]) -> PostHost:
    """The one host of single-host.yml."""
    return PostHost(fleets["single-host"].fleet, "solo", "192.0.2.31")


@pytest.fixture(scope="module")
def posts(fleets: dict[str, Made]) -> tuple[PostHost, PostHost]:
    """The post hosts of two-tier.yml, on one PostgreSQL."""
    fleet = fleets["two-tier"].fleet
    return PostHost(fleet, "post-1", "198.51.100.11"), PostHost(fleet, "post-2", "198.51.100.12")


@pytest.fixture(params=["debian-12", "debian-13"])
def mx(request: pytest.FixtureRequest, host: PostHost, posts: tuple[PostHost, PostHost]) -> PostHost:
    """A post host of each release."""
    return {"debian-12": host, "debian-13": posts[1]}[request.param]


@pytest.mark.parametrize(("example", "hosts"), [("single-host", 1), ("two-tier", 5)])
def test_an_example_is_as_deployed_and_its_canary_comes_through(
    fleets: dict[str, Made], example: str, hosts: int
) -> None:
    made = fleets[example]
    assert f"{hosts} unchanged" in made.again
    assert ", 0 failed" in made.verified
    for check in ("canary", "websocket-idle", "sse-through-edge", "longpoll-through-edge"):
        assert check in made.verified


def test_an_edge_takes_up_a_renewed_certificate_and_hands_no_token_to_an_impostor(fleets: dict[str, Made]) -> None:
    fleet, place, name = fleets["two-tier"].fleet, "198.51.100.11:8025", "post.tier.mail.example.org"
    shown = f"openssl s_client -connect {place} -CAfile /etc/restante/tls/offices.pem -verify_return_error -verify_hostname {name}"
    serial = f"{shown} </dev/null 2>/dev/null | openssl x509 -noout -serial"
    before = fleet.on("edge-1", serial)
    fleet.on("post-1", "rm /var/lib/restante/identity/restante-post/cert.pem && /usr/local/lib/restante/identity")
    until(lambda: fleet.on("edge-1", serial) != before, "the renewed certificate", 75)
    made = f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /run/i.key -out /run/i.pem -subj /CN={name}"
    fleet.on(
        "post-1",
        f"systemctl stop restante-edge.socket restante-server && {made} -addext subjectAltName=DNS:{name} 2>&1",
    )
    serve = f"openssl s_server -accept {place} -cert /run/i.pem -key /run/i.key -www"
    try:
        fleet.on(
            "post-1",
            f"systemd-run --unit=impostor {serve} && while ! ss -Hltn sport = :8025 | grep -q .; do sleep 0.1; done",
        )
        assert fleet.failed("--only", "offices-verified") == {
            ("offices-verified", "edge-1"),
            ("offices-verified", "edge-2"),
        }
        asked = "for i in 1 2 3 4 5 6; do curl -sk -o /dev/null -w '%{http_code} ' https://127.0.0.1/openapi.json; done"
        assert fleet.on("edge-1", asked).split() == ["200"] * 6, "the other post office serves"
    finally:
        # What asked for the post office meanwhile has used up the socket's tries to start.
        fleet.on(
            "post-1",
            "systemctl stop impostor restante-server; systemctl reset-failed; systemctl start restante-edge.socket restante-server",
        )
    assert not fleet.failed("--only", "offices-verified")


FRAMES = """
import asyncio, json, ssl, sys, websockets
async def main(authority, edge, token):
    trust = ssl.create_default_context(cafile=authority)
    given = {"Authorization": f"Bearer {token}"}
    async with websockets.connect("wss://mail.example.org/v1/ws", host=edge, ssl=trust, additional_headers=given) as ws:
        async for frame in ws:
            print(json.loads(frame)["type"], flush=True)
asyncio.run(main(*sys.argv[1:]))
"""


def test_an_edge_that_is_reloaded_has_its_agents_asked_to_move(fleets: dict[str, Made]) -> None:
    """The post offices are other hosts. A socket that they forget would be closed after 45 s without a ping."""
    fleet = fleets["two-tier"].fleet
    post = PostHost(fleet, "post-1", "198.51.100.11")
    token = post.ask("POST", "/v1/tokens", {"name": "held", "scopes": {INBOX: ["receive"]}})["token"]
    argv = [*fleet.lab.prefix(), sys.executable, "-c", FRAMES, str(fleet.lab.authority / "ca.pem"), "192.0.2.11", token]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as held:
        assert held.stdout
        try:
            assert held.stdout.readline() == "hello\n"
            fleet.on("edge-1", "systemctl reload nginx")
            assert held.stdout.readline() == "reconnect\n"
        finally:
            held.kill()


def test_kills_of_the_post_office_and_of_postfix_under_load_lose_nothing(host: PostHost) -> None:
    listener = Listener(host)
    load = Load(host, 0, 150)
    for number, unit in ((20, SERVER), (60, "postfix"), (100, SERVER)):
        load.reached(number)
        if unit == SERVER:
            host.kill(unit)
        else:
            host.sh("pkill -KILL -x master; systemctl restart postfix")
    assert load.end() == list(range(150))
    host.ready()
    host.emptied()
    answers = listener.end()
    assert len(answers) > 100
    assert set(answers) == {200}, "a signal for what could not be read"
    host.judge(*load.answered)


def test_a_power_cut_under_load_loses_nothing_that_was_answered(host: PostHost) -> None:
    load = Load(host, 1000, 80)
    load.reached(30)
    host.machine.power_cut()
    host.machine.power_on()
    assert load.end() == list(range(1000, 1080))
    host.ready()
    host.judge(*load.answered)


def test_a_kill_between_receive_and_ack_gives_the_mail_back_when_its_lease_ends(host: PostHost) -> None:
    assert Load(host, 1500, 1).end() == [1500]
    path = f"/v1/inboxes/{INBOX}"
    first = host.ask("POST", f"{path}/receive", {"wait_seconds": 20, "visibility_timeout": 2})["items"][0]
    host.kill(SERVER)
    host.ready()
    again = host.ask("POST", f"{path}/receive", {"wait_seconds": 20})["items"]
    assert [(item["message"]["id"], item["attempt"]) for item in again] == [(first["message"]["id"], 2)]
    results = host.ask(
        "POST", f"{path}/ack", {"receipt_handles": [first["receipt_handle"], again[0]["receipt_handle"]]}
    )
    assert [each["result"] for each in results["results"]] == ["expired", "ok"]


def test_mail_comes_in_while_the_post_office_is_away_and_is_there_at_once_when_it_is_back(host: PostHost) -> None:
    host.sh(f"systemctl stop {SERVER} restante-lmtp.socket")
    load = Load(host, 2000, 20)
    assert load.end() == list(range(2000, 2020))
    until(lambda: "deferred" in host.sh("postqueue -j"), "a first try that failed")
    host.sh(f"systemctl start restante-lmtp.socket {SERVER}")
    until(lambda: host.queued() == 0, "the flush: Postfix's own next try is a minute away", 20)
    host.judge(*load.answered)


def test_a_restart_under_load_refuses_no_connection(host: PostHost) -> None:
    """The sockets are systemd's: who connects in between waits."""
    probe = "for i in $(seq 40); do curl -s -o /dev/null -w '%{http_code}\\n' --max-time 20 http://127.0.0.1:8025/healthz; done"
    answers: list[str] = []
    thread = threading.Thread(target=lambda: answers.extend(host.sh(probe).split()))
    thread.start()
    load = Load(host, 2500, 40)
    load.reached(5)
    host.sh(f"systemctl restart {SERVER}")
    assert load.end() == list(range(2500, 2540))
    thread.join()
    assert set(answers) <= {"200", "503"}, answers
    host.ready()
    host.judge(*load.answered)


def test_of_two_recipients_the_full_one_is_refused_for_now_and_the_other_gets_its_mail_once(host: PostHost) -> None:
    """At RCPT, where the sender keeps the mail; behind a 250 it waits in our own queue."""
    host.ask("PATCH", f"/v1/inboxes/{OTHER}", {"quota_bytes": 0})
    until(lambda: "452" in host.rcpt(OTHER), "Postfix's answer for the full inbox", 20)
    assert "250" in host.rcpt(INBOX)
    host.ask("PATCH", f"/v1/inboxes/{OTHER}", {"quota_bytes": None})
    until(lambda: "250" in host.rcpt(OTHER), "room again", 20)

    host.sh(f"systemctl stop {SERVER} restante-lmtp.socket")
    assert Load(host, 3000, 1, f"{INBOX},{OTHER}").end() == [3000]
    assert host.change_store(f"UPDATE inbox SET quota_bytes = 0 WHERE address = '{OTHER}'") == 1
    host.sh(f"systemctl start restante-lmtp.socket {SERVER}")
    until(lambda: "452 4.2.2" in host.sh("postqueue -j"), "LMTP's answer for the full inbox", 20)
    assert [message["subject"] for message in host.everything()] == ["mail 3000"]
    assert host.everything(OTHER) == []
    host.ask("PATCH", f"/v1/inboxes/{OTHER}", {"quota_bytes": None})
    host.emptied()
    assert [message["subject"] for message in host.everything(OTHER)] == ["mail 3000"]
    assert host.everything() == []


def test_a_smuggled_mail_stays_a_part_of_the_one_that_carries_it(mx: PostHost) -> None:
    mx.emptied()
    mx.everything()
    heads = {name: f"Subject: {name}\r\n\r\nhello".encode() for name in SMUGGLING}
    mails = {
        name: (verb, (heads[name] + sent + SMUGGLED + b".\r\n").decode("latin-1"))
        for name, (verb, sent, _) in SMUGGLING.items()
    }
    command = [*mx.fleet.lab.prefix(), sys.executable, str(HERE / "smuggler.py"), mx.address, CARRIER, INBOX]
    done = subprocess.run(command, input=json.dumps(mails), capture_output=True, text=True, timeout=120, check=True)
    taken = {name for name, replies in json.loads(done.stdout).items() if replies[0].startswith("250")}
    assert "a-dot-as-it-is-written" in taken
    mx.emptied()
    items = mx.ask("POST", f"/v1/inboxes/{INBOX}/receive", {"max_messages": 100})["items"]
    raw = {item["message"]["subject"]: mx.raw(item["message"]["id"]) for item in items}
    mx.ask("POST", f"/v1/inboxes/{INBOX}/ack", {"receipt_handles": [item["receipt_handle"] for item in items]})

    envelopes = sorted((item["message"]["subject"], item["message"]["envelope_from"]) for item in items)
    assert envelopes == [(name, CARRIER) for name in sorted(taken)]
    for name in taken:
        verb, _, kept = SMUGGLING[name]
        whole = heads[name] + kept + SMUGGLED + (b".\r\n" if verb == "BDAT" else b"")
        assert raw[name][raw[name].index(b"Subject: ") :] == whole, name


@pytest.fixture
def small_disk(host: PostHost) -> Iterator[int]:
    """The store on 40 MB of its own, of which 16 stay free; gives the size of the floor."""
    floor = 16 << 20
    away, back = f"systemctl stop {SERVER}", f"systemctl start {SERVER}"
    host.sh(
        f"{away} && cp -a {STATE} /run/kept && mount -t tmpfs -o size=40m tmpfs {STATE} && cp -a /run/kept/. {STATE} && "
        "cp -a /etc/restante/restante.toml /run/restante.toml && "
        f"sed -i 's/^free_space_floor = .*/free_space_floor = {floor}/' /etc/restante/restante.toml && {back}"
    )
    host.ready()
    yield floor
    host.sh(
        f"{away} && rm -rf /run/kept {STATE}/filler && cp -a {STATE} /run/kept && umount {STATE} && "
        f"rm -rf {STATE}/* && cp -a /run/kept/. {STATE} && "
        f"cp -a /run/restante.toml /etc/restante/restante.toml && {back}"
    )
    host.ready()


def test_a_full_disk_refuses_at_rcpt_holds_what_was_taken_and_takes_mail_again_when_there_is_room(
    host: PostHost, small_disk: int
) -> None:
    host.sh(f"fallocate -l $(( $(df --output=avail -B1 {STATE} | tail -1) - {small_disk // 2} )) {STATE}/filler")
    until(lambda: "452" in host.rcpt(INBOX), "Postfix's answer when space is short", 20)
    assert host.queued() == 0
    host.sh(f"rm {STATE}/filler")
    until(lambda: "250" in host.rcpt(INBOX), "room again", 20)

    host.sh(f"systemctl stop {SERVER} restante-lmtp.socket")
    load = Load(host, 4000, 10)
    assert load.end() == list(range(4000, 4010))
    host.sh(f"dd if=/dev/zero of={STATE}/filler bs=4k 2>/dev/null; systemctl start restante-lmtp.socket {SERVER}")
    until(
        lambda: "waiting for the store" in host.sh(f"systemctl show -P StatusText {SERVER}"), "a server that waits", 30
    )
    host.sh("postqueue -f")
    host.sh(f"rm {STATE}/filler")
    until(lambda: host.queued() == 0, "mail in the store as soon as there is room", 20)
    host.judge(*load.answered)


def test_ten_thousand_mails_wait_for_one_inbox_and_a_kill_among_them_changes_nothing(host: PostHost) -> None:
    """Postfix's own generator: as fast as this machine takes it, a Message-ID for each."""
    thread = threading.Thread(
        target=host.machine.exec,
        args=(
            [
                "smtp-source",
                "-m",
                "10000",
                "-s",
                "20",
                "-l",
                "1000",
                "-f",
                "a@sender.invalid",
                "-t",
                INBOX,
                "127.0.0.1:25",
            ],
        ),
        kwargs={"timeout": 120},
    )
    thread.start()
    until(lambda: host.ask("GET", "/v1/ledger")["ready"] > 2000, "a backlog", 60)
    host.kill(SERVER)
    thread.join()
    host.ready()
    host.emptied()
    assert host.ask("GET", "/v1/ledger")["ready"] == 10_000
    found = host.everything()
    assert len({message["message_id"] for message in found}) == len(found) == 10_000


def test_the_host_itself_has_the_verbs_of_its_post_office_and_no_other(host: PostHost) -> None:
    token = host.sh(f"restante token create crm --allow {INBOX}=read")
    listing = f"curl -s -H 'Authorization: Bearer {token}' http://127.0.0.1:8025/v1/inboxes/{INBOX}/messages"
    assert '"items"' in host.sh(listing)
    assert INBOX in host.sh("restante inbox list")
    assert "\n  deploy " not in host.sh("restante --help")


def test_the_ledger_explains_every_mail_and_names_one_that_no_commit_holds(host: PostHost) -> None:
    status, report = host.ledger()
    assert status == 0, report
    assert report["received"] > 10_300
    assert [report[key] for key in ("ready", "leased", "dead", "deferred_at_mta", "unexplained")] == [0, 0, 0, 0, 0]

    host.sh(f"systemctl stop {SERVER}")
    assert host.change_store("DELETE FROM hop WHERE identity = (SELECT max(identity) FROM hop)") == 1
    host.sh(f"systemctl start {SERVER}")
    host.ready()
    status, report = host.ledger()
    assert (status, report["unexplained"]) == (1, 1)
    assert "Postfix was told 250, and no commit holds it" in report["unexplained_mails"][0]


def test_kills_of_postgresql_and_of_a_post_office_under_load_lose_nothing(posts: tuple[PostHost, PostHost]) -> None:
    one, two = posts
    store = PostHost(one.fleet, "store-1", "")
    listener = Listener(one)
    loads = [Load(one, 0, 120), Load(two, 500, 120)]
    loads[0].reached(20)
    store.kill(ENGINE)
    loads[1].reached(50)
    two.kill(SERVER)
    loads[0].reached(90)
    store.kill(ENGINE)
    assert [*loads[0].end(), *loads[1].end()] == [*range(120), *range(500, 620)]
    for each in posts:
        each.ready()
        each.emptied()
    answers = listener.end()
    assert len(answers) > 100
    assert set(answers) == {200}, "a signal for what could not be read"
    one.judge(*loads[0].answered, *loads[1].answered)


def test_a_power_cut_of_the_store_s_host_holds_the_mail_and_it_is_there_at_once_afterwards(
    posts: tuple[PostHost, PostHost],
) -> None:
    one, two = posts
    store = one.fleet.lab.host("store-1")
    loads = [Load(one, 1000, 60), Load(two, 1500, 60)]
    loads[0].reached(20)
    store.power_cut()
    assert [*loads[0].end(), *loads[1].end()] == [*range(1000, 1060), *range(1500, 1560)], "Postfix goes on taking mail"
    for each in posts:
        until(lambda each=each: "deferred" in each.sh("postqueue -j"), "a first try that failed", 60)  # type: ignore[misc]
    store.power_on()
    for each in posts:
        until(lambda each=each: each.queued() == 0, "the flush: Postfix's own next try is a minute away", 45)  # type: ignore[misc]
    one.judge(*loads[0].answered, *loads[1].answered)


def test_the_ledger_of_a_post_host_explains_every_mail_of_its_own(posts: tuple[PostHost, PostHost]) -> None:
    one, _ = posts
    status, report = one.ledger()
    assert status == 0, report
    assert report["received"] >= 180
    assert [report[key] for key in ("ready", "leased", "dead", "unexplained")] == [0, 0, 0, 0]


def test_the_stores_host_tells_its_free_space_and_below_the_floor_mail_is_refused_at_rcpt(
    posts: tuple[PostHost, PostHost],
) -> None:
    """The floor is raised above what is there: the lab's disk is this machine's, and is not filled."""
    post = posts[0]
    metrics = "curl -s --unix-socket /run/restante/admin.sock http://localhost/metrics"
    until(
        lambda: post.tries(f"{metrics} | grep -q '^restante_store_free_bytes [1-9]'"),
        "the word of the store's host",
        30,
    )
    config = "/etc/restante/restante.toml"
    post.sh(
        f"cp -a {config} /run/kept.toml && sed -i 's/^free_space_floor = .*/free_space_floor = {1 << 60}/' {config}"
    )
    try:
        post.sh(f"systemctl restart {SERVER}")
        until(lambda: "452" in post.rcpt(INBOX), "Postfix's answer when space is short", 30)
    finally:
        post.sh(f"cp -a /run/kept.toml {config} && systemctl restart {SERVER}")
    until(lambda: "250" in post.rcpt(INBOX), "room again", 30)
