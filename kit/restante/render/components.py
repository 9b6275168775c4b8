"""What differs per component, as data: its packages, its test, and what a change of it does to the host."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from restante.plan import cluster, identity, topology
from restante.plan.build import HostPlan, Plan
from restante.plan.cluster import STORE_PORT
from restante.plan.post import HTTP_PORT
from restante.plan.tls import SERVED
from restante.plan.topology import STATUS_PORT
from restante.render import mail
from restante.render.manifest import Component
from restante.spec.model import Service

LIBRARY = "/usr/local/lib/restante"
PROGRAMS = (f"{LIBRARY}/", "/usr/local/sbin/")
SERVER = "restante-server.service"
_QMGR_GENERATION = "tr '\\0' '\\n' < /proc/$(pgrep -o -x qmgr)/cmdline | sed -n 's/^mail_name=//p'"
# The name of keepalived's process for VRRP; the kernel keeps 15 characters of one.
_VRRP_GENERATION = "ps -o comm= --ppid $(systemctl show -P MainPID keepalived.service) | sed -n 's/^vr-//p'"
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


def keepalived(_: Plan) -> Component:
    config = "/etc/keepalived/keepalived.conf"
    # The interface's name is in a file beside it, of this host's own making: in the copy for the test too.
    test = f"{LIBRARY}/floating-interface && exec keepalived --config-test --use-file {config}"
    return Component(
        "keepalived", "", units=("keepalived.service",), change="reload", test=(("sh", "-c", test),),
        running=("sh", "-c", _VRRP_GENERATION),
        cuts="no socket by a reload; a start of the unit anew on the edge that holds the address moves it, and cuts that edge's",
    )  # fmt: skip


def certificate(_: Plan) -> Component:
    """What the servers read. A pair that does not fit hinders no release while an earlier one serves."""
    take = ("sh", "-c", f"{LIBRARY}/tls-take || [ -s {SERVED} ]")
    return Component("certificate", "", test=(take,), commands=(take,))


def tls(_: Plan) -> Component:
    return Component("tls", "", units=("restante-tls.path", "restante-tls.timer"), change="restart")


def postgresql(_: Plan, host: HostPlan) -> Component:
    version = host.target.postgresql
    config = f"/etc/postgresql/{version}/main/postgresql.conf"
    test = (f"/usr/lib/postgresql/{version}/bin/postgres", "-C", "listen_addresses", "-c", f"config_file={config}")
    ask = ("runuser", "-u", "postgres", "--", "psql", "-XAtc", "SHOW restante.generation")
    return Component(
        "postgresql", "", units=(f"postgresql@{version}-main.service", "restante-store-setup.service"), change="restart",
        test=(("runuser", "-u", "postgres", "--", *test),), running=ask, listens=(f"127.0.0.1:{STORE_PORT}",),
        cuts="the post office's database connections: mail waits in Postfix until they are back",
    )  # fmt: skip


def identities(_: Plan) -> Component:
    verify = ("openssl", "verify", "-CAfile", identity.ROOT, f"{identity.ISSUER}/host.pem")
    return Component("identity", "", units=("restante-identity.timer",), change="restart", test=(verify,))


def etcd(plan: Plan, host: HostPlan) -> Component:
    return Component(
        "etcd", "", units=("etcd.service",), change="restart", running=_environment("etcd.service"),
        listens=(f"{cluster.join(cluster.members(plan.spec)[host.name])}:{cluster.ETCD_PEER_PORT}",), **_member("etcd"),
    )  # fmt: skip


def patroni(_: Plan) -> Component:
    return Component(
        "patroni", "", units=("patroni.service",), change="restart", running=_environment("patroni.service"),
        # `patroni --validate-config` would want the other members to answer already.
        test=(("python3", "-c", "from patroni.config import Config; Config('/etc/patroni/config.yml')"),),
        cuts="the post office's database connections, once the lead is handed over: mail waits in Postfix until they are back",
        **_member("patroni"),
    )  # fmt: skip


def cluster_programs(_: Plan) -> Component:
    """Apart from Patroni, which a new release of the kit's own code need not restart."""
    unit = "restante-cluster"
    test = ("systemd-analyze", "verify", f"/etc/systemd/system/{unit}.service")
    settled = (f"{LIBRARY}/cluster", "settle", "patroni")
    return Component("cluster", "", units=(f"{unit}.timer",), change="restart", test=(test,), settled=settled)


def _member(component: str) -> dict[str, Any]:
    return {
        "before": (f"{LIBRARY}/cluster", "spare", component),
        "settled": (f"{LIBRARY}/cluster", "settle", component),
    }


def space(_: Plan) -> Component:
    unit = "restante-space"
    test = ("systemd-analyze", "verify", f"/etc/systemd/system/{unit}.service")
    return Component("space", "", units=(f"{unit}.timer",), change="restart", test=(test,))


def wal(_: Plan) -> Component:
    unit = "restante-wal.service"
    return Component(
        "wal", "", units=(unit,), change="restart", test=(("systemd-analyze", "verify", f"/etc/systemd/system/{unit}"),)
    )


def backup(plan: Plan) -> Component:
    paths = () if plan.spec.store.engine == "sqlite" else ("restante-backup.path",)
    test = ("systemd-analyze", "verify", "/etc/systemd/system/restante-backup.service")
    return Component("backup", "", units=("restante-backup.timer", *paths), change="restart", test=(test,))


def restore(_: Plan) -> Component:
    """What only the host that keeps a cluster's backups has: it tries them, and serves to the members what was restored."""
    units = tuple(f"/etc/systemd/system/restante-{name}.service" for name in ("trial", "restored"))
    return Component(
        "restore", "", units=("restante-trial.timer",), change="restart", test=(("systemd-analyze", "verify", *units),)
    )


def command(_: Plan) -> Component:
    return Component("command", "")


def sockets(plan: Plan, host: HostPlan) -> Component:
    """Apart from the service, which is restarted more often: systemd restarts it with them, never them with it."""
    units = mail.sockets(plan, host)
    paths = tuple(f"/etc/systemd/system/{unit}" for unit in units)
    return Component(
        "sockets", "", units=units, change="restart", test=(("systemd-analyze", "verify", *paths),),
        cuts="every socket that the post office holds: agents reconnect",
    )  # fmt: skip


def post(_: Plan) -> Component:
    return Component(
        "post", "", units=(SERVER,), change="restart", test=(("systemd-analyze", "verify", f"/etc/systemd/system/{SERVER}"),),
        running=_environment(SERVER), listens=(f"127.0.0.1:{HTTP_PORT}",),
        before=(f"{LIBRARY}/office", "before"), settled=(f"{LIBRARY}/office", "settled"),
        cuts="every socket that the post office holds, after it asked them to reconnect",
    )  # fmt: skip


def postfix(_: Plan, host: HostPlan) -> Component:
    return Component(
        "postfix", "", units=tuple(dict.fromkeys(("postfix.service", host.target.postfix))), change="reload", test=(("postfix", "check"),),
        running=("sh", "-c", _QMGR_GENERATION), listens=("127.0.0.1:25",),
        cuts="no socket; SMTP sessions end by themselves",
    )  # fmt: skip


def queue(_: Plan) -> Component:
    return Component("queue", "", units=("restante-queue.timer", "restante-flush.path"), change="restart")


def _environment(unit: str) -> tuple[str, ...]:
    """Asks the process that runs now what it was started with."""
    shown = f"tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID {unit})/environ | sed -n 's/^RESTANTE_GENERATION=//p'"
    return ("sh", "-c", shown)


def service(name: str, entry: Service) -> Component:
    unit = f"{name}.service"
    return Component(
        f"service-{name}", "", units=(unit,), change="restart",
        test=(("systemd-analyze", "verify", f"/etc/systemd/system/{unit}"),), running=_environment(unit),
        listens=tuple(f"127.0.0.1:{item}" if isinstance(item, int) else f"unix:{item}" for item in entry.listens),
        cuts=f"every socket that {name} holds",
    )  # fmt: skip


def of_host(plan: Plan, host: HostPlan) -> list[Component]:
    """In the order in which they are applied: who is told first, then the ground, then what stands on it."""
    found, log = [alert(plan)], host.keeps_backups and plan.spec.store.engine != "sqlite"
    if plan.spec.firewall.enabled:
        found.append(nftables(plan))
    found.append(sysctl(plan))
    found += [command(plan)] if host.has_verbs else []
    found += [certificate(plan)] if host.is_edge or host.is_post else []
    found += [identities(plan)] if topology.identities(plan.spec, host.name) else []
    if host.is_store and plan.spec.store.replicated:
        found += [etcd(plan, host), patroni(plan), cluster_programs(plan), space(plan)]
    elif host.is_store:
        found += [postgresql(plan, host), space(plan)]
    found += [sockets(plan, host), post(plan), postfix(plan, host), queue(plan)] if host.is_post else []
    found += [wal(plan)] if log else []
    found += [backup(plan)] if host.keeps_backups else []
    found += [restore(plan)] if host.name in cluster.archive(plan.spec) else []
    found += [service(name, entry) for name, entry in host.services.items()]
    found += [nginx(plan)] if host.is_edge else []
    found += [keepalived(plan)] if host.floating else []
    return [*found, tls(plan)] if host.is_edge or host.is_post else found


def packages(plan: Plan, host: HostPlan) -> list[str]:
    wanted = {"procps"}
    wanted |= {"nginx", "openssl", "curl"} if host.is_edge else set()
    wanted |= {"keepalived", "iproute2"} if host.floating else set()
    wanted |= {"postfix", "postfix-sqlite", "openssl", "python3"} if host.is_post else set()
    wanted |= {f"postgresql-{host.target.postgresql}", "python3"} if host.is_store else set()
    if host.name in cluster.archive(plan.spec):
        wanted |= {f"postgresql-{host.target.postgresql}", "python3", "openssl"}
    if host.is_store and plan.spec.store.replicated:
        wanted |= {"patroni", "python3-etcd", "etcd-server", "etcd-client", "openssl"}
    wanted |= {"nftables"} if plan.spec.firewall.enabled else set()
    return sorted(wanted.union(*(entry.packages for entry in host.services.values())))


def with_generation(component: Component, generation: str) -> Component:
    return replace(component, generation=generation)
