"""A replicated store: PostgreSQL under Patroni, whose members agree over etcd who leads. Who they are, and how soon one is replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from restante.plan import identity
from restante.plan.derived import Rule, Values
from restante.spec.document import Path
from restante.spec.hosts import Tier
from restante.spec.model import Spec

STORE_PORT = 5432
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
PATRONI_PORT = 8008
RESTORED_PORT = 5433  # on the host that keeps the backups: what it has restored, for the members to copy
FEWEST = 3  # two of three agree; of two neither may decide alone

OFFICE_USER = "restante-post"
BACKUP_USER = "restante-backup"  # also its role in PostgreSQL
_PATRONI, _ETCD, _LIBPQ = "Patroni, dynamic configuration", "etcd, tuning", "libpq, 34.1.2"


def ports() -> dict[int | str, str]:
    """What listens on a member, and whose it is."""
    return {STORE_PORT: "PostgreSQL", ETCD_PORT: "etcd", ETCD_PEER_PORT: "etcd", PATRONI_PORT: "Patroni"}


def members(spec: Spec) -> dict[str, str]:
    """Store hosts with the address under which the others reach them; empty where the store is not replicated."""
    return {name: _known_as(spec, name) for name in spec.hosts_of(Tier.store)} if spec.store.replicated else {}


def offices(spec: Spec) -> dict[str, str]:
    """Post hosts with the address from which they come."""
    return {name: _known_as(spec, name) for name in spec.hosts_of(Tier.post)} if spec.store.replicated else {}


def archive(spec: Spec) -> dict[str, str]:
    """The host that keeps the backups, with the address from which it comes."""
    backup = spec.store.backup
    kept = spec.store.replicated and backup.enabled and backup.host in spec.hosts
    return {backup.host: _known_as(spec, backup.host)} if kept and backup.host else {}


def address(spec: Spec, name: str) -> str | None:
    """The host's, of the family that the members have in common; None without one."""
    host = spec.hosts[name]
    return host.ipv6 if _family(spec) == "ipv6" else host.ipv4


def _known_as(spec: Spec, name: str) -> str:
    return address(spec, name) or spec.hosts[name].addresses[0]


def _family(spec: Spec) -> str | None:
    """The one that all of them have."""
    hosts = [spec.hosts[name] for tier in (Tier.store, Tier.post) for name in spec.hosts_of(tier)]
    return next((family for family in ("ipv4", "ipv6") if all(getattr(host, family) for host in hosts)), None)


def url(spec: Spec, values: Mapping[str, int]) -> str:
    """The post office tries them in turn until one takes writes. Both ends show a certificate for their address."""
    parameters = {"target_session_attrs": "read-write", **_patience(values), **identity.libpq(OFFICE_USER)}
    hosts = ",".join(f"{join(address)}:{STORE_PORT}" for address in members(spec).values())
    return f"postgresql://restante@{hosts}/restante?" + "&".join(f"{k}={quote(str(v))}" for k, v in parameters.items())


def conninfo(spec: Spec, values: Mapping[str, int]) -> str:
    """For the tools that make backups, which add whether they want the leader (libpq, 34.1.1.1)."""
    # Its own words about a leader that is gone go unanswered: keepalives are for a receiver that has nothing to say.
    parameters = {
        "host": ",".join(members(spec).values()), "port": STORE_PORT, "user": BACKUP_USER, **_patience(values),
        "keepalives_idle": values["store.let_go"], "keepalives_interval": 5, "keepalives_count": 3, **identity.libpq(BACKUP_USER),
    }  # fmt: skip
    return " ".join(f"{key}={value}" for key, value in parameters.items())


def _patience(values: Mapping[str, int]) -> dict[str, str | int]:
    return {"connect_timeout": values["store.connect_timeout"], "tcp_user_timeout": values["store.let_go"] * 1000}


def join(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def derive(spec: Spec, values: Values) -> list[Rule]:
    """Fill in how soon what is noticed; returns its part of the chain."""
    if not spec.store.replicated:
        return []
    key = "store.engine"
    values.add("cluster.ttl", 20, "s", "So long after its last word a leader counts as dead: the smallest that Patroni takes.",
        risk="longer, and mail waits longer in Postfix after a power cut", source=f"{_PATRONI}: ttl", spec_key=key)  # fmt: skip
    values.add("cluster.loop_wait", 5, "s", "The leader gives word so often.",
        risk="too long, and a slow etcd demotes a healthy leader", source=f"{_PATRONI}: loop_wait", spec_key=key)  # fmt: skip
    values.add("cluster.retry_timeout", 5, "s", "So long etcd or PostgreSQL may not answer until a leader steps down.",
        risk="too short takes a pause for a partition", source=f"{_PATRONI}: retry_timeout", spec_key=key)  # fmt: skip
    beat = values.add("etcd.heartbeat", 100, "ms", "etcd's own default, for members of one site.",
        risk="longer adds to a failover: a new leader of etcd counts every word from its own first moment", source=f"{_ETCD}: heartbeat-interval", spec_key=key)  # fmt: skip
    values.add("etcd.election", 10 * beat, "ms", "Ten heartbeats, as etcd advises.",
        risk="too short, and elections do not end", source=f"{_ETCD}: election-timeout", spec_key=key)  # fmt: skip
    values.add("cluster.sender_timeout", 10, "s", "A member that says nothing for so long is not waited for: another becomes synchronous.",
        risk="the default of 60 s holds every commit for as long", source="PostgreSQL, runtime configuration: wal_sender_timeout", spec_key=key)  # fmt: skip
    values.add("cluster.look", 60, "s", "So often leads of PostgreSQL and etcd on one host are parted; what is seen twice, a person is told.",
        risk="both fall together, and the next leader comes seconds later", source="etcd: a new leader grants every lease anew", spec_key=key)  # fmt: skip
    values.add("store.connect_timeout", 2, "s", "A member that is away costs a post office so much, once: then it asks the others first. The least that libpq takes.",
        risk="too long adds to every failover", source=f"{_LIBPQ}: connect_timeout", spec_key=key)  # fmt: skip
    values.add("store.let_go", 10, "s", "A connection on which a dead leader owes an answer is let go.",
        risk="the kernel's own patience is 15 minutes", source=f"{_LIBPQ}: tcp_user_timeout", spec_key=key)  # fmt: skip
    return list(_rules(values))


def _rules(values: Values) -> Iterator[Rule]:
    ttl, retry = values["cluster.ttl"], "cluster.retry_timeout"
    yield Rule("leader-outlives-a-slow-etcd", f"cluster.loop_wait + 2 x {retry}", values["cluster.loop_wait"] + 2 * values[retry], "cluster.ttl", ttl,
        "a leader must be able to try twice before its word runs out", f"lower {retry}", f"overrides.values.{retry}", strict=False)  # fmt: skip
    yield Rule("dead-leader-let-go", "store.let_go", values["store.let_go"], "cluster.ttl", ttl,
        "a post office must be free to ask the new leader as soon as there is one", "lower store.let_go", "overrides.values.store.let_go")  # fmt: skip


def problems(spec: Spec) -> Iterator[tuple[Path, str]]:
    """What does not fit together, each with its place."""
    stores = spec.hosts_of(Tier.store)
    if len(stores) < FEWEST:
        yield (
            ("store", "engine"),
            f"a cluster needs {FEWEST} hosts of the tier store to outvote one that is away, and there are {len(stores)}; "
            "add hosts, or set engine: postgresql, which takes one",
        )
    if len({spec.hosts[name].os for name in stores}) > 1:
        first = spec.hosts[stores[0]].os.value
        other = next(name for name in stores if spec.hosts[name].os.value != first)
        yield (
            ("hosts", other, "os"),
            f"{stores[0]} runs {first}: members of a cluster copy each other's files, so all need the same release",
        )
    if stores and _family(spec) is None:
        yield (
            ("hosts", stores[0]),
            "store and post hosts have no address family in common; give each of them an ipv4, or each an ipv6",
        )
