"""Post and store hosts among the others: who listens where, who may reach it, and what the edge routes to them."""

from __future__ import annotations

from collections.abc import Iterator

from restante.plan import cluster
from restante.plan.cluster import STORE_PORT
from restante.spec.document import Path
from restante.spec.hosts import Tier
from restante.spec.mail import Inboxes
from restante.spec.model import Route, Spec

SMTP_PORT = 25
HTTP_PORT = 8025
LOOPBACK = "127.0.0.1"


def alone(spec: Spec) -> str | None:
    """The one host that is edge and post office at once: nothing of theirs has to leave it."""
    posts, edges = spec.hosts_of(Tier.post), spec.hosts_of(Tier.edge)
    return posts[0] if posts == edges and len(posts) == 1 else None


def secured_addresses(spec: Spec, host: str) -> tuple[str, ...]:
    """Where the post office's HTTP listens beside the loopback: a token crosses the network by TLS or not at all."""
    return () if alone(spec) else spec.hosts[host].addresses


def http_addresses(spec: Spec, host: str) -> tuple[str, ...]:
    """All of them. The loopback always, without TLS: for the checks, and for who is on the host itself."""
    return (LOOPBACK, *secured_addresses(spec, host))


def routes(spec: Spec) -> tuple[Route, ...]:
    """The spec's own, and with post hosts the post office's, unless the spec has a route below /v1 itself.

    /v1/ is of kind sse for all that is not a WebSocket: a stream needs the long read timeout, and a long-poll or a plain
    request is no worse off with it (docs/decisions/0014). /healthz, /readyz and /metrics are not routed.
    """
    own = spec.edge.routes if spec.edge else ()
    posts = spec.hosts_of(Tier.post)
    if not posts or not spec.hosts_of(Tier.edge) or any(f"{route.path}/".startswith("/v1/") for route in own):
        return own
    upstreams = tuple(f"{LOOPBACK if alone(spec) else name}:{HTTP_PORT}" for name in posts)
    kinds = {"/v1/ws": "websocket", "/v1/": "sse", "/openapi.json": "http"}
    taken = {route.path for route in own}
    made = [Route(path=path, kind=kind, upstreams=upstreams) for path, kind in kinds.items() if path not in taken]
    return (*own, *made)


def ports(spec: Spec, host: str) -> dict[int | str, str]:
    """TCP ports that mail takes on a host, and whose they are."""
    tiers = spec.hosts[host].tiers
    found: dict[int | str, str] = {SMTP_PORT: "Postfix", HTTP_PORT: "the post office"} if Tier.post in tiers else {}
    if Tier.store in tiers:
        found |= cluster.ports() if spec.store.replicated else {STORE_PORT: "PostgreSQL"}
    if host in cluster.archive(spec):
        found[cluster.RESTORED_PORT] = "a restored store"
    return found


def store_host(spec: Spec) -> str | None:
    return next(iter(spec.hosts_of(Tier.store)), None)


def store_data(spec: Spec, version: str) -> str:
    """Where PostgreSQL of this version keeps its files on a store host: Debian's own cluster, or the one that Patroni makes."""
    return f"/var/lib/postgresql/{version}/{'restante' if spec.store.replicated else 'main'}"


def store_clients(spec: Spec) -> list[tuple[str, str]]:
    """Post hosts with each of their addresses: they, and nobody else, reach the store."""
    return [(name, address) for name in spec.hosts_of(Tier.post) for address in spec.hosts[name].addresses]


def mail_name(spec: Spec, host: str) -> str:
    """What Postfix calls itself. Names of a spec are labels: below its domain they are whole."""
    return f"{host}.{spec.domain}"


def predefined(inboxes: Inboxes) -> list[str]:
    """Whole addresses, each once."""
    whole = (text if "@" in text else f"{text}@{inboxes.domains[0]}" for text in inboxes.predefined)
    return list(dict.fromkeys(whole))


def without_postmaster(spec: Spec) -> list[str]:
    known = predefined(spec.inboxes) if spec.inboxes else []
    return [domain for domain in (spec.inboxes.domains if spec.inboxes else ()) if f"postmaster@{domain}" not in known]


def problems(spec: Spec) -> Iterator[tuple[Path, str]]:
    """What does not fit together, each with its place."""
    posts, stores = spec.hosts_of(Tier.post), spec.hosts_of(Tier.store)
    if posts and not spec.inboxes:
        yield (
            ("hosts", posts[0], "tiers"),
            "this is a post host, and the spec has no inboxes: section; add inboxes.domains",
        )
    if spec.inboxes and not posts:
        yield ("inboxes",), "inboxes are given, and no host has the tier post; add it to a host's tiers"
    if posts and not spec.tls and not spec.hosts_of(Tier.edge):
        yield (
            ("hosts", posts[0], "tiers"),
            "this is a post host, and the spec has no tls: section; give certificate and key",
        )
    yield from _engine(spec, posts, stores)
    for index, name in enumerate(spec.inboxes.predefined if spec.inboxes else ()):
        if spec.inboxes and "@" in name and name.partition("@")[2] not in spec.inboxes.domains:
            yield (
                ("inboxes", "predefined", index),
                f"{name} is in no domain of inboxes.domains ({', '.join(spec.inboxes.domains)})",
            )
    for index, domain in enumerate(spec.inboxes.domains if spec.inboxes else ()):
        if domain in (mail_name(spec, name) for name in posts):
            yield (
                ("inboxes", "domains", index),
                f"{domain} is the name of a post host itself; receive for another domain",
            )


def _engine(spec: Spec, posts: list[str], stores: list[str]) -> Iterator[tuple[Path, str]]:
    if spec.store.engine == "sqlite":
        if len(posts) > 1:
            yield (
                ("store",),
                (
                    f"SQLite is a file on one host, and {len(posts)} hosts are of the tier post; "
                    "set engine: postgresql, or keep one of them"
                ),
            )
        if stores:
            yield (
                ("hosts", stores[0], "tiers"),
                (
                    "this is a store host, and the engine is sqlite, which lives on the post host; "
                    "set store.engine: postgresql, or take the tier away"
                ),
            )
        return
    if not posts:
        yield ("store",), "a store is given, and no host has the tier post; add it to a host's tiers"
    if spec.store.url and stores:
        yield ("store", "url"), f"the store is external, and {stores[0]} is of the tier store; keep one of them"
    if spec.store.replicated:
        yield from cluster.problems(spec)
    elif not spec.store.url and len(stores) != 1:
        more = "set engine: postgresql-ha, which takes three or more, or " if len(stores) > 1 else ""
        yield (
            ("store",),
            f"PostgreSQL needs exactly one host of the tier store, and there are {len(stores)}; or {more}give store.url",
        )
