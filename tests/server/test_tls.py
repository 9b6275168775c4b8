"""What edges find: the same API by TLS, under a certificate that is renewed while sockets stay open."""

from __future__ import annotations

import datetime
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPSConnection
from pathlib import Path

import pytest
from office import INBOX, Office, serving, settings
from websockets.sync.client import connect

from restante.errors import InputError
from restante.lab.authority import issue
from restante.server.app import PostOffice
from restante.server.settings import Certificate, Http
from restante.server.tls import Shown

NAME = "post.tier.mail.example.org"
WEEK = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Files:
    """Of one host; `renew` is what its timer does."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "cert.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"

    def renew(self, name: str = NAME) -> None:
        for path, text in zip((self.certificate, self.key), issue(self.folder / "authority", name, WEEK), strict=True):
            path.write_text(text)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    made = Files(tmp_path)
    made.renew()
    return made


@dataclass(frozen=True)
class Edge:
    """A client that believes the authority, and wants a post office."""

    files: Files
    office: Office
    port: int

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.files.folder / "authority" / "ca.pem")

    def serial(self, name: str = NAME) -> str:
        plain = socket.create_connection(("127.0.0.1", self.port), 5)
        with plain, self.trust.wrap_socket(plain, server_hostname=name) as secured:
            assert secured.version() == "TLSv1.3"
            return str((secured.getpeercert() or {})["serialNumber"])


@pytest.fixture
def edge(files: Files) -> Iterator[Edge]:
    listening = socket.create_server(("127.0.0.1", 0))
    configuration = settings(files.folder / "data", http=Http(certificate=files.certificate, key=files.key))
    with serving(configuration, edge=[listening]) as office:
        yield Edge(files, office, listening.getsockname()[1])


def test_requests_and_sockets_go_by_tls(edge: Edge) -> None:
    headers = {"Authorization": f"Bearer {edge.office.token}"}
    plain = socket.create_connection(("127.0.0.1", edge.port), 5)
    asked = HTTPSConnection(NAME, context=edge.trust)
    asked.sock = edge.trust.wrap_socket(plain, server_hostname=NAME)
    asked.request("GET", f"/v1/inboxes/{INBOX}", headers=headers)
    assert json.loads(asked.getresponse().read())["inbox_id"] == INBOX
    plain = socket.create_connection(("127.0.0.1", edge.port), 5)
    with connect(f"wss://{NAME}/v1/ws", sock=plain, ssl=edge.trust, additional_headers=headers) as held:
        assert json.loads(held.recv())["type"] == "hello"


def test_whoever_expects_another_name_or_no_tls_is_not_served(edge: Edge) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for"):
        edge.serial("store-1.mail.example.org")
    with socket.create_connection(("127.0.0.1", edge.port), 5) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not plain.recv(100).startswith(b"HTTP")


def test_a_renewed_certificate_is_shown_to_who_comes_next_and_cuts_nobody(edge: Edge) -> None:
    headers = {"Authorization": f"Bearer {edge.office.token}"}
    plain = socket.create_connection(("127.0.0.1", edge.port), 5)
    with connect(f"wss://{NAME}/v1/ws", sock=plain, ssl=edge.trust, additional_headers=headers) as held:
        before = edge.serial()
        edge.files.renew()
        assert edge.serial() == before
        edge.office.run(edge.office.office._renewed())
        assert edge.serial() != before
        held.send(json.dumps({"type": "ping", "id": 1, "ts": 0}))
        while json.loads(held.recv(timeout=5))["type"] != "pong":
            pass


def test_an_edge_that_was_reloaded_has_its_agents_moved_and_nobody_else_can(edge: Edge) -> None:
    def asked(headers: dict[str, str]) -> int:
        client = HTTPSConnection(NAME, context=edge.trust)
        client.sock = edge.trust.wrap_socket(
            socket.create_connection(("127.0.0.1", edge.port), 5), server_hostname=NAME
        )
        client.request("POST", "/edge/move", headers=headers)
        return client.getresponse().status

    assert edge.office.call("POST", "/edge/move").status == 404
    headers = {"Authorization": f"Bearer {edge.office.token}"}
    plain = socket.create_connection(("127.0.0.1", edge.port), 5)
    with connect(f"wss://{NAME}/v1/ws", sock=plain, ssl=edge.trust, additional_headers=headers) as held:
        assert json.loads(held.recv())["type"] == "hello"
        assert asked({"X-Forwarded-For": "192.0.2.1"}) == 404
        assert asked({}) == 200
        assert json.loads(held.recv(timeout=5))["type"] == "reconnect"


def test_a_pair_that_does_not_fit_is_refused_with_a_sentence_and_the_old_one_stays(edge: Edge) -> None:
    before, key = edge.serial(), edge.files.key.read_text()
    edge.files.renew()
    edge.files.key.write_text(key)
    with pytest.raises(InputError, match=r"no pair that can be shown to edges.*identity makes them anew"):
        edge.office.run(edge.office.office._renewed())
    assert edge.serial() == before


def test_what_has_not_changed_is_not_read_again(files: Files) -> None:
    shown = Shown(files.certificate, files.key)
    assert not shown.look()


def test_a_socket_for_edges_without_a_certificate_is_refused(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        pytest.raises(InputError, match="names no certificate and key"),
    ):
        PostOffice(settings(tmp_path), {"edge": [listening]})


def test_metrics_say_when_a_certificate_ends_and_leave_out_what_may_not_be_read(files: Files, tmp_path: Path) -> None:
    watched = {
        "host": Certificate(path=files.certificate, warn_before_s=216_000),
        "domain": Certificate(path=tmp_path / "private.pem", warn_before_s=1),
    }
    with serving(settings(tmp_path / "data", certificates=watched)) as office:
        shown = office.call("GET", "/metrics").raw.decode()
    end = re.search(r'restante_certificate_not_after_seconds{certificate="host"} (\S+)', shown)
    assert end
    assert 0 <= time.time() + WEEK.total_seconds() - float(end[1]) < 60
    assert 'restante_certificate_warn_before_seconds{certificate="host"} 216000.0' in shown
    assert "domain" not in shown
