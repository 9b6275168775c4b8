"""What differs per component, as data: its packages, its test, and what a change of it does to the host."""

from __future__ import annotations

from dataclasses import replace

from restante.plan.build import HostPlan, Plan
from restante.plan.topology import STATUS_PORT
from restante.render.manifest import Component
from restante.spec.model import Service

LIBRARY = "/usr/local/lib/restante"
_NFT_GENERATION = r"nft list table inet restante | sed -n 's/.*chain generation_\([0-9a-f]*\).*/\1/p'"


def alert(plan: Plan) -> Component:
    beats = ("restante-beat.timer",) if plan.spec.alert and plan.spec.alert.beat else ()
    return Component("alert", "", units=beats, change="restart")


def sysctl(_: Plan) -> Component:
    path = "/etc/sysctl.d/60-restante.conf"
    return Component(
        "sysctl", "", test=(("sysctl", "--dry-run", "-q", "-p", path),), commands=(("sysctl", "-q", "-p", path),)
    )


def nftables(_: Plan) -> Component:
    return Component(
        "nftables", "", units=("restante-firewall.service",), change="reload",
        test=(("nft", "-c", "-f", "/etc/restante/firewall.nft"),), running=("sh", "-c", _NFT_GENERATION),
    )  # fmt: skip


def nginx(plan: Plan) -> Component:
    status = f"http://127.0.0.1:{STATUS_PORT}/restante/generation"
    drain = plan.values["edge.drain"]
    return Component(
        "nginx", "", units=("nginx.service",), change="reload", test=(("nginx", "-t", "-q"),),
        running=("curl", "-fsS", "--max-time", "2", status), listens=(f"127.0.0.1:{STATUS_PORT}", "127.0.0.1:443"),
        cuts=f"old workers keep established sockets for {drain} s, then cut them: agents reconnect",
    )  # fmt: skip


def tls(_: Plan) -> Component:
    return Component("tls", "", units=("restante-tls.path", "restante-tls.timer"), change="restart")


def service(name: str, entry: Service) -> Component:
    unit = f"{name}.service"
    shown = f"tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID {unit})/environ | sed -n 's/^RESTANTE_GENERATION=//p'"
    return Component(
        f"service-{name}", "", units=(unit,), change="restart",
        test=(("systemd-analyze", "verify", f"/etc/systemd/system/{unit}"),), running=("sh", "-c", shown),
        listens=tuple(f"127.0.0.1:{item}" if isinstance(item, int) else f"unix:{item}" for item in entry.listens),
        cuts=f"every socket that {name} holds",
    )  # fmt: skip


def of_host(plan: Plan, host: HostPlan) -> list[Component]:
    """In the order in which they are applied: who is told first, then the ground, then what stands on it."""
    found = [alert(plan)]
    if plan.spec.firewall.enabled:
        found.append(nftables(plan))
    found.append(sysctl(plan))
    found += [service(name, entry) for name, entry in host.services.items()]
    return [*found, nginx(plan), tls(plan)] if host.is_edge else found


def packages(plan: Plan, host: HostPlan) -> list[str]:
    wanted = {"procps"}
    wanted |= {"nginx", "openssl", "curl"} if host.is_edge else set()
    wanted |= {"nftables"} if plan.spec.firewall.enabled else set()
    return sorted(wanted.union(*(entry.packages for entry in host.services.values())))


def with_generation(component: Component, generation: str) -> Component:
    return replace(component, generation=generation)
