"""A bundle written by hand: nginx and a tiny service, so that the deploy is tested without the renderer."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from restante import resources

CONF, UNIT = "/etc/nginx/nginx.conf", "/etc/systemd/system/relay.service"
SUITES = {"bookworm": "debian-12", "trixie": "debian-13"}
GENERATION = "/restante/generation"
RUNNING = ["curl", "-fsS", "--max-time", "2", f"http://127.0.0.1:8090{GENERATION}"]


@dataclass
class HandHost:
    """One host of the bundle. `says` is what its nginx answers; `extra` is any further text in nginx.conf."""

    name: str
    address: str
    suite: str
    tier: str = "edge"
    says: str = "one"
    extra: str = ""
    relay: bool = True
    exec_start: str = "/usr/bin/python3 -m http.server --bind 127.0.0.1 8099"
    secrets: dict[str, str] = field(default_factory=dict)
    firewall: str = ""

    @property
    def nginx(self) -> str:
        return (
            "user www-data; worker_processes 1; events {}\n"
            "http {\n"
            f'  server {{ listen 127.0.0.1:8090; location = {GENERATION} {{ return 200 "{self.says}\\n"; }} }}\n'
            f'  server {{ listen 8080; return 200 "{self.says}\\n"; }}\n'
            f"  {self.extra}\n"
            "}\n"
        )

    @property
    def unit(self) -> str:
        return (
            "[Unit]\nDescription=A tiny service\n"
            f"[Service]\nUser=relay\nExecStart={self.exec_start}\nRestart=on-failure\n"
            "[Install]\nWantedBy=multi-user.target\n"
        )

    @property
    def files(self) -> dict[str, tuple[str, str]]:
        found = {CONF: ("nginx", self.nginx)}
        if self.relay:
            found[UNIT] = ("relay", self.unit)
        if self.firewall:
            found["/etc/restante/firewall.nft"] = ("nftables", self.firewall)
        return found

    @property
    def components(self) -> list[dict[str, Any]]:
        nginx = {
            "name": "nginx", "generation": self.says, "test": [["nginx", "-t", "-q"]], "units": ["nginx.service"],
            "change": "reload", "commands": [], "running": RUNNING, "listens": ["127.0.0.1:8090", "0.0.0.0:8080"],
        }  # fmt: skip
        relay = {
            "name": "relay", "generation": self.exec_start, "test": [["systemd-analyze", "verify", UNIT]],
            "units": ["relay.service"], "change": "restart", "listens": ["127.0.0.1:8099"],
        }  # fmt: skip
        nft = ["nft", "-f", "/etc/restante/firewall.nft"]
        firewall = {
            "name": "nftables",
            "generation": self.firewall,
            "test": [["nft", "-c", *nft[1:]]],
            "commands": [nft],
        }
        return [*([firewall] if self.firewall else []), *([relay] if self.relay else []), nginx]

    @property
    def manifest(self) -> dict[str, Any]:
        rights = {"mode": "0644", "owner": "root", "group": "root"}
        body = {
            "format": 1, "host": self.name, "os": SUITES[self.suite], "arch": "amd64", "packages": ["nginx"],
            "users": ["relay"] if self.relay else [],
            "files": {
                path: {"component": name, "sha256": _sha256(text), **rights}
                for path, (name, text) in self.files.items()
            },
            "secrets": {
                path: {"component": "nginx", "reference": reference, **rights, "mode": "0600"}
                for path, reference in self.secrets.items()
            },
            "components": self.components,
        }  # fmt: skip
        return {**body, "release": _sha256(json.dumps(body, sort_keys=True))[:16]}


def write(directory: Path, *hosts: HandHost) -> Path:
    """Write a whole bundle into `directory`, which may hold an earlier one."""
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(resources.roles(), directory / "roles", ignore=shutil.ignore_patterns("__pycache__", "site.yml"))
    shutil.copyfile(resources.roles() / "site.yml", directory / "site.yml")
    (directory / "inventory.yml").write_text(yaml.safe_dump(_inventory(hosts)))
    (directory / "plan.json").write_text('{"authority": {}}')
    for host in hosts:
        root = directory / "hosts" / host.name
        for path, (_, text) in host.files.items():
            (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
            (root / path.lstrip("/")).write_text(text)
        (root / "manifest.json").write_text(json.dumps(host.manifest))
    files = {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    (directory / "manifest.json").write_text(json.dumps({"format": 1, "files": files}))
    return directory


def _inventory(hosts: tuple[HandHost, ...]) -> dict[str, Any]:
    tiers: dict[str, Any] = {f"tier_{tier}": {"hosts": {}} for tier in ("app", "edge", "agent")}
    for host in hosts:
        tiers[f"tier_{host.tier}"]["hosts"][host.name] = None
    variables = {host.name: {"ansible_host": host.address, "ansible_user": "root"} for host in hosts}
    return {"all": {"hosts": variables, "children": tiers}}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
