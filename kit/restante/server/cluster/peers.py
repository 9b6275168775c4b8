"""Asks the members: etcd's and Patroni's HTTP, both ends with certificates."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import urllib3

from restante.errors import FoundError
from restante.server.cluster.settings import ClusterSettings
from restante.server.cluster.view import View, members

LIMIT_S = 4  # `restante status` asks a member for what it knows of all, also while one of them is frozen
# Patroni, etcd3: namespace/scope/; range_end is the first key that does not begin so.
STATE, AFTER_STATE = b"/service/restante/", b"/service/restante0"
SWITCHOVER_LIMIT_S = 60
RESTART_LIMIT_S = 120


class Peers:
    """The members of `settings`, asked as this host."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        trust = ssl.create_default_context(cafile=str(settings.root))
        trust.load_cert_chain(settings.identity / "cert.pem", settings.identity / "key.pem")
        self._pool = urllib3.PoolManager(ssl_context=trust, retries=False)

    def view(self) -> View:
        """What is known now; members that do not answer are missing from it."""
        with ThreadPoolExecutor(2 * len(self.settings.members)) as pool:
            asked = pool.map(self._etcd_is_healthy, self.settings.members.values())
            told = [answer for answer in pool.map(self._cluster, self.settings.members) if answer]
            healthy = list(asked)
        etcd = {name: good for name, good in zip(self.settings.members, healthy, strict=True) if good is not None}
        # One that still hears etcd knows better than one that was cut off.
        best = max(told, key=lambda answer: sum(member.leads for member in members(answer).values()), default={})
        return View(self.settings.own, tuple(self.settings.members), etcd, members(best), bool(best.get("pause")))

    def switch_over(self, leader: str, candidate: str) -> None:
        """Raises FoundError with Patroni's own words when it refuses."""
        self._patroni(leader, "POST", "/switchover", {"leader": leader, "candidate": candidate}, SWITCHOVER_LIMIT_S)

    def shared(self) -> bool:
        """Whether the settings that members share are the kit's: what a commit waits for is among them."""
        return _holds(self._patroni(self.settings.own, "GET", "/config").json(), self.settings.settings)

    def share(self) -> bool:
        """Bring them up to date; whether they were not."""
        if self.shared():
            return False
        self._patroni(self.settings.own, "PATCH", "/config", self.settings.settings)
        return True

    def restart_if_pending(self) -> bool:
        """PostgreSQL on this host, when a setting of it waits for that; whether it did."""
        if not self._patroni(self.settings.own, "GET", "/patroni").json().get("pending_restart"):
            return False
        self._patroni(self.settings.own, "POST", "/restart", {"restart_pending": True}, RESTART_LIMIT_S)
        return True

    def patronis(self) -> list[str]:
        """Members whose Patroni answers."""
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(self._cluster, self.settings.members))
        return [name for name, answer in zip(self.settings.members, answers, strict=True) if answer]

    def forget(self) -> None:
        """Take what Patroni keeps in etcd away: who led, who was synchronous. The next to start with files is the cluster."""
        keys = {"key": base64.b64encode(STATE).decode(), "range_end": base64.b64encode(AFTER_STATE).decode()}
        self._etcd(self.settings.own, "/v3/kv/deleterange", keys)

    def part(self, healthy: Iterable[str]) -> str | None:
        """Where etcd's lead went, when it was on this host; None when it was not, or nobody else can take it."""
        own = self.settings.own
        status = self._etcd(own, "/v3/maintenance/status")
        if status["leader"] != status["header"]["member_id"]:
            return None
        ids = {each["name"]: each["ID"] for each in self._etcd(own, "/v3/cluster/member/list")["members"]}
        heir = next((name for name in healthy if name != own and name in ids), None)
        if heir:
            self._etcd(own, "/v3/maintenance/transfer-leadership", {"targetID": ids[heir]})
        return heir

    def _etcd(self, name: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        url = f"https://{_join(self.settings.members[name])}:{self.settings.etcd_port}{path}"
        try:
            answer = self._pool.request("POST", url, timeout=LIMIT_S, json=body or {})
            found = dict(answer.json())
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise FoundError(f"etcd on {name} does not answer {path}: {error}") from None
        if answer.status >= 300:
            raise FoundError(f"etcd on {name} refuses {path}: {found.get('message', found)}")
        return found

    def _cluster(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(self._patroni(name, "GET", "/cluster").json())
        except (FoundError, ValueError):
            return None

    def _etcd_is_healthy(self, address: str) -> bool | None:
        """None where nothing answers."""
        try:
            answer = self._pool.request(
                "GET", f"https://{_join(address)}:{self.settings.etcd_port}/health", timeout=LIMIT_S
            )
        except urllib3.exceptions.HTTPError:
            return None
        return answer.status == 200

    def _patroni(
        self, name: str, method: str, path: str, body: Mapping[str, Any] | None = None, limit_s: float = LIMIT_S
    ) -> urllib3.BaseHTTPResponse:
        url = f"https://{_join(self.settings.members[name])}:{self.settings.patroni_port}{path}"
        try:
            answer = self._pool.request(method, url, timeout=limit_s, **({"json": body} if body else {}))
        except urllib3.exceptions.HTTPError as error:
            raise FoundError(f"Patroni on {name} does not answer: {error}") from None
        if answer.status >= 300:
            raise FoundError(f"Patroni on {name} refuses {path}: {answer.data.decode(errors='replace').strip()}")
        return answer


def _holds(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether every wanted key is there with its value, or is not when that is None; Patroni merges what it is sent."""
    return all(
        _holds(known.get(key) or {}, value) if isinstance(value, Mapping) else known.get(key) == value
        for key, value in wanted.items()
    )


def _join(address: str) -> str:
    return f"[{address}]" if ":" in address else address
