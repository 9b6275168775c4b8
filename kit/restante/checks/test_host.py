"""Every host: what was rendered is what lies there and what runs."""

from __future__ import annotations

from typing import Any

import pytest
from bundle import Bundle, Expected, expect, seconds

check = pytest.mark.check
CONNTRACK_FILL = 0.8


@check(id="files-as-rendered", cause=5, key="overrides", component="")
def test_files(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    for path, file in bundle.hosts[host_name]["files"].items():
        expect(path, {key: file[key] for key in ("sha256", "mode", "owner", "group")}, facts["files"][path])


@check(id="running-as-rendered", cause=5, key="overrides", component="")
def test_generation(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    for name, component in bundle.components(host_name).items():
        if component["running"]:
            expect(f"generation of the running {name}", component["generation"], facts["running"][name])


@check(id="kernel-as-planned", cause=6, key="path", component="sysctl")
def test_sysctls(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    for key, value in bundle.sysctls(host_name).items():
        expect(key, value, facts["sysctls"].get(key, "no such key"))


@check(id="units-active", cause=6, key="services", component="")
def test_units_active(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    for unit in bundle.units(host_name):
        expect(f"{unit} is", "active", facts["units"][unit]["ActiveState"])
        # enabled-runtime: a generator does it at every boot, as Debian's PostgreSQL has it.
        if facts["units"][unit]["UnitFileState"] not in {"enabled", "enabled-runtime"}:
            raise Expected(f"{unit} enabled at boot", facts["units"][unit]["UnitFileState"])


@check(id="no-failed-unit", cause=6, key="services", component="")
def test_no_failed_unit(facts: dict[str, Any]) -> None:
    failed = [line for line in facts["failed"] if line]
    if failed:
        raise Expected("no failed unit", "; ".join(failed))


@check(id="service-exposure", cause=6, key="services.hardening", component="service")
def test_exposure(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    for name, service in bundle.plan["hosts"][host_name]["services"].items():
        score = facts["exposure"][f"{name}.service"]
        if service["hardening"]["level"] == "strict" and (score is None or score > 2.5):
            raise Expected(f"an exposure of {name}.service of at most 2.5", score)


@check(id="service-watchdog", cause=2, key="services.watchdog", component="service")
def test_watchdog(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    for name, service in bundle.plan["hosts"][host_name]["services"].items():
        unit = facts["units"][f"{name}.service"]
        expect(f"{name}.service is restarted", "always", unit["Restart"])
        expect(f"start limit of {name}.service", "0", unit["StartLimitIntervalUSec"])
        if service["watchdog"]:
            expect(f"watchdog of {name}.service", service["watchdog"], seconds(unit["WatchdogUSec"]))


@check(id="ports-as-planned", cause=1, key="firewall", component="")
def test_ports(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    """What the spec opens listens; what else can be reached is firewall-as-planned's question."""
    ports = {int(line.split()[3].rpartition(":")[2]) for line in facts["listening"].splitlines()}
    host = bundle.plan["hosts"][host_name]
    wanted = {
        listen for service in host["services"].values() for listen in service["listens"] if isinstance(listen, int)
    }
    wanted |= {80, 443} if "edge" in host["tiers"] else set()
    wanted |= {25, 8025} if "post" in host["tiers"] else set()
    wanted |= {5432} if "store" in host["tiers"] else set()
    if missing := wanted - ports:
        raise Expected(f"ports {sorted(wanted)} listening", f"nothing on {sorted(missing)}")


@check(id="firewall-as-planned", cause=1, key="firewall", component="nftables")
def test_firewall(bundle: Bundle, facts: dict[str, Any], host_name: str) -> None:
    """Exactly the spec's openings: a rule that somebody added is found as well as one that is gone."""
    host = bundle.plan["hosts"][host_name]
    wanted = {_rule(opening) for opening in host["openings"]} | {_vrrp(peer) for peer in host["vrrp_peers"]}
    # nft writes the protocol as a name where the host has /etc/protocols.
    lines = {line.strip().replace("l4proto vrrp", "l4proto 112") for line in facts["firewall"].splitlines()}
    found = {line for line in lines if line.endswith("accept") and (_is_tcp(line) or "112" in line.split())}
    if found != wanted:
        raise Expected(f"open: {'; '.join(sorted(wanted))}", "; ".join(sorted(found)) or "no table inet restante")
    if not any("hook input" in line and "policy drop" in line for line in lines):
        raise Expected("policy drop for all else", facts["firewall"])


def _is_tcp(line: str) -> bool:
    return " dport " in f" {line}" and " udp " not in f" {line}"


def _vrrp(peer: str) -> str:
    return f"{'ip6' if ':' in peer else 'ip'} saddr {peer} meta l4proto 112 accept"


def _rule(opening: dict[str, Any]) -> str:
    """As `nft list` writes it."""
    family = "ip6" if ":" in opening["source"] else "ip"
    source = f"{family} saddr {opening['source']} " if opening["source"] else ""
    return f"{source}tcp dport {opening['port']} accept"


@check(id="conntrack-room", cause=1, key="agents", component="nftables")
def test_conntrack(facts: dict[str, Any]) -> None:
    count, limit = (int(text or 0) for text in facts["conntrack"])
    if not limit or count > limit * CONNTRACK_FILL:
        raise Expected(f"a connection table filled to at most {CONNTRACK_FILL:.0%}", f"{count} of {limit}")
