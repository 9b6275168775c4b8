"""`restante dns`."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path

import click

from restante.cli.session import plan_for, spec_argument
from restante.plan import floating
from restante.plan.build import Plan
from restante.spec.hosts import Tier

LIMIT_S = 5.0


@click.command("dns")
@spec_argument
@click.option("--check", is_flag=True, help="Also connect to port 25 of each post host from here.")
def command(spec: Path, check: bool) -> None:
    """Print the records to publish for SPEC's domains. Exit status 1 when --check finds a closed port 25."""
    plan = plan_for(spec)
    for record in records(plan):
        click.echo(record)
    if check:
        answers = [(name, address, _banner(address)) for name, address in _posts(plan)]
        for name, address, said in answers:
            click.echo(f"; {name} {address}:25 {said}")
        raise click.exceptions.Exit(0 if all(said.startswith("220") for _, _, said in answers) else 1)


def _posts(plan: Plan) -> Iterator[tuple[str, str]]:
    for name in plan.spec.hosts_of(Tier.post):
        for address in plan.spec.hosts[name].addresses:
            yield name, address


def _public(plan: Plan) -> tuple[str, ...]:
    """The address that moves between the edges, or without one each edge's own."""
    own = (address for name in plan.spec.hosts_of(Tier.edge) for address in plan.spec.hosts[name].addresses)
    return floating.addresses(plan.spec) or tuple(own)


def records(plan: Plan) -> Iterator[str]:
    """Lines of a zone file, with the reasons as comments."""
    domain = plan.spec.domain
    yield "; the name under which agents reach the edges"
    yield from (_address(domain, address) for address in _public(plan))
    yield "; mail comes to the post hosts; equal preference, so that any of them may be away"
    for name in sorted({name for name, _ in _posts(plan)}):
        yield from (_address(f"{name}.{domain}", address) for address in plan.spec.hosts[name].addresses)
    for each in plan.spec.inboxes.domains if plan.spec.inboxes else ():
        yield from (f"{each}. IN MX 10 {name}.{domain}." for name in plan.spec.hosts_of(Tier.post))
        yield f'{each}. IN TXT "v=spf1 -all" ; it only receives; replies go through your own relay, which this must then name'
    yield "; reverse names, at whoever gave you the addresses"
    for name, address in _posts(plan):
        yield f"{ipaddress.ip_address(address).reverse_pointer}. IN PTR {name}.{domain}."


def _address(name: str, address: str) -> str:
    return f"{name}. IN {'AAAA' if ':' in address else 'A'} {address}"


def _banner(address: str) -> str:
    try:
        with socket.create_connection((address, 25), LIMIT_S) as connection:
            connection.settimeout(LIMIT_S)
            return connection.recv(200).decode("ascii", "replace").strip()
    except OSError as error:
        return f"does not answer: {error}; many providers close port 25 until asked"
