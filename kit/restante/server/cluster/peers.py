"""Asks the members: etcd's and Patroni's HTTP, both ends with certificates."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from restante.errors import FoundError
from restante.server.cluster.settings import ClusterSettings
from restante.server.cluster.view import View, members

LIMIT_S = 5


class Peers:
    """The members of `settings`, asked as this host."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self._trust = ssl.create_default_context(cafile=str(settings.root))
        self._trust.load_cert_chain(settings.identity / "cert.pem", settings.identity / "key.pem")

    def view(self) -> View:
        """What is known now; members that do not answer are missing from it."""
        with ThreadPoolExecutor() as pool:
            healthy = list(pool.map(self._etcd_is_healthy, self.settings.members.values()))
            told = [answer for answer in pool.map(self._cluster, self.settings.members) if answer]
        etcd = {name: good for name, good in zip(self.settings.members, healthy, strict=True) if good is not None}
        # One that still hears etcd knows better than one that was cut off.
        best = max(told, key=lambda answer: sum(member.leads for member in members(answer).values()), default={})
        return View(self.settings.own, len(self.settings.members), etcd, members(best), bool(best.get("pause")))

    def switch_over(self, leader: str, candidate: str) -> None:
        """Raises FoundError with Patroni's own words when it refuses."""
        self._ask(leader, "/switchover", {"leader": leader, "candidate": candidate}, "POST", limit_s=60)

    def share(self) -> bool:
        """Bring the shared settings up to date; whether they were not."""
        known = self._ask(self.settings.own, "/config")
        if _holds(known, self.settings.settings):
            return False
        self._ask(self.settings.own, "/config", self.settings.settings, "PATCH")
        return True

    def _cluster(self, name: str) -> dict[str, Any] | None:
        try:
            return self._ask(name, "/cluster")
        except FoundError:
            return None

    def _etcd_is_healthy(self, address: str) -> bool | None:
        """None where nothing answers."""
        url = f"https://{_join(address)}:{self.settings.etcd_port}/health"
        try:
            with urllib.request.urlopen(url, timeout=LIMIT_S, context=self._trust) as answer:
                return str(json.load(answer).get("health")).lower() == "true"
        except (urllib.error.HTTPError, ValueError):
            return False
        except OSError:
            return None

    def _ask(
        self, name: str, path: str, body: Mapping[str, Any] | None = None, method: str = "GET", limit_s: float = LIMIT_S
    ) -> dict[str, Any]:
        url = f"https://{_join(self.settings.members[name])}:{self.settings.patroni_port}{path}"
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=limit_s, context=self._trust) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise FoundError(f"Patroni on {name} refuses {path}: {error.read().decode(errors='replace').strip()}") from None
        except OSError as error:
            raise FoundError(f"Patroni on {name} does not answer: {error}") from None
        return dict(json.loads(text)) if text.startswith(b"{") else {}


def _holds(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether every wanted key is there with its value; Patroni merges what it is sent."""
    return all(
        _holds(known[key] or {}, value) if isinstance(value, Mapping) else known[key] == value
        for key, value in wanted.items() if key in known
    ) and wanted.keys() <= known.keys()  # fmt: skip


def _join(address: str) -> str:
    return f"[{address}]" if ":" in address else address
