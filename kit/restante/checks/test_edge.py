"""The edges, read from the running nginx."""

from __future__ import annotations

from typing import Any

import pytest
from bundle import Bundle, Expected, expect, seconds
from nginx_syntax import Directive, parse

check = pytest.mark.check


def http(facts: dict[str, Any]) -> list[Directive]:
    """The http context of `nginx -T`, includes spliced in as nginx reads them."""
    return [inner for directive in parse(facts["nginx"]) for inner in _flat(directive)]


def _flat(directive: Directive) -> list[Directive]:
    return [directive, *(inner for child in directive.block or [] for inner in _flat(child))]


def location(bundle: Bundle, facts: dict[str, Any], path: str) -> dict[str, list[list[str]]]:
    """Directives of a route's location in the spec's own server: name -> argument lists."""
    name = ("server_name", [bundle.plan["domain"]])
    servers = [directive for directive in http(facts) if directive.name == "server" and directive.block]
    ours = [server for server in servers if name in [(inner.name, inner.args) for inner in server.block or []]]
    for directive in (inner for server in ours for inner in server.block or []):
        if directive.name == "location" and directive.args == [path]:
            found: dict[str, list[list[str]]] = {}
            for inner in directive.block or []:
                found.setdefault(inner.name, []).append(inner.args)
            return found
    raise Expected(f"a location {path}", "none in nginx -T")


@check(id="socket-timeouts", cause=3, key="edge.socket_read_timeout", component="nginx")
def test_timeouts(bundle: Bundle, facts: dict[str, Any]) -> None:
    keys = {"websocket": "socket", "sse": "socket", "longpoll": "longpoll", "http": "http"}
    for route in bundle.plan["routes"]:
        seconds = bundle.value(f"edge.{keys[route['kind']]}_read_timeout")
        expect(
            f"proxy_read_timeout of {route['path']}",
            [[f"{seconds}s"]],
            location(bundle, facts, route["path"])["proxy_read_timeout"],
        )


@check(id="upgrade-headers", cause=3, key="edge.routes", component="nginx")
def test_upgrade(bundle: Bundle, facts: dict[str, Any]) -> None:
    for route in bundle.plan["routes"]:
        found = location(bundle, facts, route["path"])
        expect(f"proxy_http_version of {route['path']}", [["1.1"]], found.get("proxy_http_version"))
        if route["kind"] == "websocket":
            for header in (["Upgrade", "$http_upgrade"], ["Connection", "$connection_upgrade"]):
                if header not in found["proxy_set_header"]:
                    raise Expected(f"proxy_set_header {' '.join(header)} on {route['path']}", found["proxy_set_header"])


@check(id="offices-verified", cause=4, key="hosts", component="nginx", kind="offices")
def test_offices(bundle: Bundle, facts: dict[str, Any]) -> None:
    """The running nginx checks who the post offices are, and from this edge each of them can show it."""
    wanted = bundle.plan["offices"]
    set_ = {directive.name: directive.args for directive in http(facts) if directive.name.startswith("proxy_ssl_")}
    for name, value in (("verify", "on"), ("name", wanted["name"]), ("trusted_certificate", wanted["root"])):
        expect(f"proxy_ssl_{name}", [value], set_.get(f"proxy_ssl_{name}"))
    expect("TLS from this edge with each post office", dict.fromkeys(wanted["at"], "TLSv1.3"), facts["offices"])


@check(id="socket-keepalive", cause=1, key="keepalive.idle", component="nginx")
def test_keepalive(bundle: Bundle, facts: dict[str, Any]) -> None:
    idle, interval, probes = (bundle.value(f"keepalive.{key}") for key in ("idle", "interval", "probes"))
    listens = [
        directive.args for directive in http(facts) if directive.name == "listen" and directive.args[0].endswith("443")
    ]
    if not listens:
        raise Expected("a listener on port 443", "none in nginx -T")
    for arguments in listens:
        if f"so_keepalive={idle}s:{interval}s:{probes}" not in arguments:
            raise Expected(f"so_keepalive={idle}s:{interval}s:{probes} on listen {arguments[0]}", " ".join(arguments))
    for route in bundle.plan["routes"]:
        expect(
            f"proxy_socket_keepalive of {route['path']}",
            [["on"]],
            location(bundle, facts, route["path"]).get("proxy_socket_keepalive"),
        )


@check(id="accept-backlog", cause=6, key="edge.backlog", component="nginx")
def test_backlog(bundle: Bundle, facts: dict[str, Any]) -> None:
    rows = [line.split() for line in facts["listening"].splitlines()]
    found = {row[3]: row[2] for row in rows if row[3].endswith(":443")}
    if not found:
        raise Expected("a listener on port 443", "none")
    for address, queue in found.items():
        expect(f"listen queue of {address}", str(bundle.value("edge.backlog")), queue)


@check(id="drain-before-stop", cause=5, key="edge.drain", component="nginx")
def test_stop_timeout(bundle: Bundle, facts: dict[str, Any]) -> None:
    expect(
        "TimeoutStopSec of nginx",
        bundle.value("edge.stop_timeout"),
        seconds(facts["units"]["nginx.service"]["TimeoutStopUSec"]),
    )


@check(id="worker-limits", cause=5, key="edge.nofile", component="nginx")
def test_limits(bundle: Bundle, facts: dict[str, Any]) -> None:
    for worker in facts["workers"]:
        if worker["nofile"] < bundle.value("edge.nofile"):
            raise Expected(f"at least {bundle.value('edge.nofile')} open files for each worker", worker["nofile"])


@check(id="workers-drain", cause=5, key="edge.drain", component="nginx")
def test_draining(bundle: Bundle, facts: dict[str, Any]) -> None:
    """An old worker is gone once the drain limit has passed since the youngest took over."""
    current = [worker["age"] for worker in facts["workers"] if not worker["draining"]]
    if not current:
        raise Expected("workers that accept", "none")
    old = [worker["pid"] for worker in facts["workers"] if worker["draining"]]
    if old and max(current) > bundle.value("edge.drain") + 5:
        raise Expected(f"no worker that drains for more than {bundle.value('edge.drain')} s", f"pids {old}")


@check(id="certificate-watched", cause=4, key="tls", component="tls")
def test_watched(facts: dict[str, Any]) -> None:
    for unit in ("restante-tls.path", "restante-tls.timer"):
        expect(f"{unit} is", "active", facts["units"][unit]["ActiveState"])


@check(id="certificate-taken", cause=4, key="tls", component="certificate")
def test_taken(facts: dict[str, Any]) -> None:
    """Every server of the host shows the certificate that lies on its disk: none was refused, and none still runs with an older one."""
    (disk, wanted), *others = facts["taken"].items()
    for who, found in others:
        expect(f"the certificate of {disk}, as {who} has it", wanted, found)


@check(id="floating-address-held", cause=5, key="edge.floating", component="keepalived")
@pytest.mark.usefixtures("facts")
def test_floating(bundle: Bundle, life: Any) -> None:
    """By exactly one edge of those that were asked; with --limit by no two."""
    edges = bundle.with_component("keepalived")
    known = {name: life.facts[name] for name in edges if isinstance(life.facts.get(name), dict)}
    for address in bundle.plan["floating"]:
        holders = [name for name, found in known.items() if address in found["addresses"]]
        if len(holders) > 1 or (not holders and len(known) == len(edges)):
            raise Expected(f"{address} on one edge", f"on {' and '.join(holders) or 'none'}")
