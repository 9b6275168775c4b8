"""The Ansible inventory and known_hosts of a bundle: how each host is reached."""

from __future__ import annotations

from typing import Any

import yaml

from restante.plan.build import HostPlan, Plan
from restante.spec.hosts import Tier


def inventory(plan: Plan) -> bytes:
    groups: dict[str, Any] = {f"tier_{tier.value}": {"hosts": dict.fromkeys(plan.spec.hosts_of(tier))} for tier in Tier}
    hosts = {name: _variables(host) for name, host in plan.hosts.items()}
    text = yaml.dump(
        {"all": {"hosts": hosts, "children": groups}}, sort_keys=False, Dumper=yaml.CSafeDumper, width=1000
    )
    return f"# Rendered by Restante from the spec.\n---\n{text}".encode()


def _variables(host: HostPlan) -> dict[str, Any]:
    ssh = host.host.ssh
    arguments = ["-o ServerAliveInterval=15 -o ServerAliveCountMax=3"]
    if ssh.host_key:
        arguments.append("-o StrictHostKeyChecking=yes -o UserKnownHostsFile='{{ inventory_dir }}/known_hosts'")
    if ssh.jump:
        arguments.append(f"-o ProxyJump={ssh.jump}")
    return {
        "ansible_host": host.host.addresses[0],
        "ansible_user": ssh.user,
        "ansible_port": ssh.port,
        "ansible_become": ssh.become,
        "ansible_ssh_common_args": " ".join(arguments),
    }


def known_hosts(plan: Plan) -> bytes:
    lines = [
        f"{address if host.ssh.port == 22 else f'[{address}]:{host.ssh.port}'} {host.ssh.host_key}"
        for host in plan.spec.hosts.values()
        if host.ssh.host_key
        for address in host.addresses
    ]
    return "".join(f"{line}\n" for line in lines).encode()
