"""What several verbs need: a spec's plan, its bundle, and its lab."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from restante.checks.bundle import Bundle, write_ssh_config
from restante.cli.facts import gather
from restante.errors import InputError
from restante.lab.lab import Lab
from restante.lab.machine import Machine, lab_directory
from restante.plan import floating
from restante.plan.build import Plan, build
from restante.render.bundle import render_bundle
from restante.render.components import packages
from restante.render.write import changed_by_hand, write
from restante.spec.hosts import Tier
from restante.spec.load import load

spec_argument = click.argument("spec", type=click.Path(path_type=Path))


def plan_for(spec: Path) -> Plan:
    """Load and plan; raises InputError or SpecError."""
    loaded = load(spec)
    return build(loaded, gather(loaded))


def bundle_for(spec: Path, directory: Path) -> Plan:
    """Render `spec` into `directory`; returns its plan."""
    plan = plan_for(spec)
    write(render_bundle(plan), directory)
    return plan


@contextmanager
def bundle_at(spec: Path, bundle: Path | None) -> Iterator[Path]:
    """The bundle to work with: the one given, unchanged since its render, or a fresh one that goes away again."""
    if bundle:
        if not spec.exists():
            raise InputError(
                f"{spec}: there is no such file; secrets of the bundle are looked for in its folder, so name its spec"
            )
        if changed := changed_by_hand(bundle):
            raise InputError(
                f"{bundle} was changed since it was rendered ({', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''}); "
                "put the change into the spec (overrides) and render again"
            )
        yield bundle
        return
    with tempfile.TemporaryDirectory(prefix="restante-") as folder:
        bundle_for(spec, Path(folder) / "bundle")
        yield Path(folder) / "bundle"


def ways(spec: Path, bundle: Bundle, scratch: Path, *, lab: bool) -> dict[str, list[str]]:
    """Host -> what runs a command there as root when it is put before it. `scratch` keeps the connections."""
    machines = lab_for(spec)[0] if lab else None
    prefix = machines.prefix() if machines else []
    config = machines.ssh_config if machines else write_ssh_config(bundle, scratch)
    return {
        name: [*prefix, "ssh", "-F", str(config), name, *(["sudo", "-n"] if way["ansible_become"] else [])]
        for name, way in bundle.inventory.items()
    }


def lab_names(spec: Path) -> dict[str, str]:
    """What a lab has instead of DNS: the domain, and where agents find it."""
    found = plan_for(spec).spec
    edges = [address for name in found.hosts_of(Tier.edge) for address in found.hosts[name].addresses]
    return dict(zip([found.domain], [*floating.addresses(found), *edges], strict=False))


def lab_for(spec: Path) -> tuple[Lab, list[Machine], dict[str, list[str]]]:
    """The spec's lab, its machines, and by suite the packages that they may install."""
    plan = plan_for(spec)
    machines = [
        Machine(name, host.target.suite, host.host.addresses, host.host.ssh.user, host.host.ssh.port)
        for name, host in plan.hosts.items()
    ]
    wanted: dict[str, set[str]] = {}
    for host in plan.hosts.values():
        wanted.setdefault(host.target.suite, set()).update(packages(plan, host))
    return Lab(lab_directory(spec)), machines, {suite: sorted(names) for suite, names in wanted.items()}
