"""What the checks expect: the bundle beside them, read as data. Imports nothing of ours, so that it ships with a bundle."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

BACKUP_UNIT = "restante-backup.service"


class Expected(AssertionError):  # noqa: N818 - reads as what it says: expected this, found that
    """A check that failed: what the plan says, and what the host says."""

    def __init__(self, expected: object, found: object) -> None:
        self.expected, self.found = str(expected), str(found)
        super().__init__(f"expected {expected}; found {found}")


def expect(what: str, expected: object, found: object) -> None:
    """Raises Expected unless both are equal."""
    if expected != found:
        raise Expected(f"{what}: {expected}", found)


def seconds(text: str) -> int:
    """systemd shows a duration as "1min 30s"."""
    units = {"min": 60, "s": 1, "h": 3600, "ms": 0}
    total = 0
    for word in text.split():
        digits = "".join(character for character in word if character.isdigit())
        total += int(digits or 0) * units.get(word[len(digits) :], 0)
    return total


@dataclass(frozen=True)
class Bundle:
    """`hosts`: name -> its manifest. `inventory`: name -> how ansible, and so we, reach it."""

    folder: Path
    plan: dict[str, Any]
    hosts: dict[str, dict[str, Any]]
    inventory: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, folder: Path) -> Bundle:
        plan = json.loads((folder / "plan.json").read_text())
        hosts = {name: json.loads((folder / "hosts" / name / "manifest.json").read_text()) for name in plan["hosts"]}
        inventory = yaml.safe_load((folder / "inventory.yml").read_text())["all"]["hosts"]
        return cls(folder, plan, hosts, inventory)

    def value(self, key: str) -> int:
        return int(self.plan["values"][key]["value"])

    def components(self, name: str) -> dict[str, dict[str, Any]]:
        return {component["name"]: component for component in self.hosts[name]["components"]}

    def with_component(self, component: str) -> list[str]:
        """Hosts that have it; "service" stands for any program of the operator's own, "" for every host."""
        if component == "service":
            return [name for name in self.hosts if self.plan["hosts"][name]["services"]]
        return [name for name in self.hosts if not component or component in self.components(name)]

    def units(self, name: str, component: str = "") -> list[str]:
        chosen = [
            item for key, item in self.components(name).items()
            if not component or key == component or key.startswith(f"{component}-")
        ]  # fmt: skip
        return [unit for item in chosen for unit in item["units"]]

    def sysctls(self, name: str) -> dict[str, str]:
        """Key -> value, as the host's own rendered file sets them."""
        text = (self.folder / "hosts" / name / "etc/sysctl.d/60-restante.conf").read_text()
        lines = (line.lstrip("-") for line in text.splitlines() if line and not line.startswith("#"))
        return {
            key.strip().replace("/", "."): " ".join(value.split())
            for key, _, value in (line.partition("=") for line in lines)
        }

    def probes(self, kind: str) -> list[str]:
        """Paths of routes that answer themselves; below the post office's /v1/ an inbox and a token are needed."""
        own = [route["path"] for route in self.plan["routes"] if route["kind"] == kind]
        return [path for path in own if not (self.plan["mail"] and path == "/v1/")]

    def kinds(self) -> set[str]:
        """What can be checked through the edge; the post office has streams and long-polls on one route."""
        own = {route["kind"] for route in self.plan["routes"] if self.probes(route["kind"])}
        office = self.plan["mail"] and any(route["path"] == "/v1/" for route in self.plan["routes"])
        return own | ({"sse", "longpoll"} if office else set()) | ({"offices"} if self.plan["offices"] else set())

    def certificates(self, name: str) -> dict[str, int]:
        """What the host shows the others, and its issuer -> seconds that each must have left: below that nobody renews it."""
        if name not in self.plan["authority"]:
            return {}
        late = self.value("identity.renewal_warning") * 3600
        leaves = {f"/var/lib/restante/identity/{user}/cert.pem": late for user in self.plan["authority"][name]["users"]}
        return {**leaves, "/etc/restante/identity/host.pem": self.value("identity.issuer_warning") * 86400}

    def taken(self, name: str) -> dict[str, Any] | None:
        """Where the certificate of the domain is to be looked for on a host that shows it."""
        components, tls = self.components(name), self.plan["tls"]
        if "certificate" not in components:
            return None
        servers = {server: server in components for server in ("nginx", "postfix")}
        return {"domain": self.plan["domain"], "files": [tls["certificate"], tls["served"]], **servers}

    def question(self, name: str) -> dict[str, Any]:
        """What the collector is asked."""
        components = self.components(name)
        return {
            "units": self.units(name) + ([BACKUP_UNIT] if self.plan["hosts"][name]["backup"] else []),
            "backup": self.plan["hosts"][name]["backup"],
            "services": self.units(name, "service"),
            "sysctls": list(self.sysctls(name)),
            "files": list(self.hosts[name]["files"]),
            "running": {key: item["running"] for key, item in components.items() if item["running"]},
            "nginx": "nginx" in components,
            "keepalived": "keepalived" in components,
            "firewall": "nftables" in components,
            "postfix": "postfix" in components,
            "postgresql": not components.keys().isdisjoint({"postgresql", "patroni"}),
            "cluster": "cluster" in components,
            "certificates": self.certificates(name),
            "taken": self.taken(name),
            "post": "post" in components,
            "offices": self.plan["offices"] if "nginx" in components else None,
        }


def write_ssh_config(bundle: Bundle, folder: Path) -> Path:
    """One connection per host, kept for the run: without a ControlPath each command would pay a handshake."""
    lines = []
    for name, variables in bundle.inventory.items():
        lines += [f"Host {name}", f"  HostName {variables['ansible_host']}", f"  User {variables['ansible_user']}",
                  f"  Port {variables['ansible_port']}"]  # fmt: skip
        arguments = variables["ansible_ssh_common_args"].replace("{{ inventory_dir }}", str(bundle.folder))
        lines += [f"  {key} {value}" for key, value in re.findall(r"-o (\w+)='?([^' ]+)'?", arguments)]
    lines += ["Host *", "  BatchMode yes", "  ControlMaster auto", f"  ControlPath {folder}/%C", "  ControlPersist 30"]
    path = folder / "ssh_config"
    path.write_text("\n".join(lines) + "\n")
    return path
