"""restante deploy: apply the bundle to the hosts with Ansible."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from restante.cli.options import json_option
from restante.cli.session import bundle_at, spec_argument
from restante.deploy.playbook import Outcome, deploy


@click.command(short_help="Apply the bundle to the hosts with Ansible.")
@spec_argument
@click.option("--bundle", type=click.Path(path_type=Path), help="Deploy this bundle instead of rendering the spec.")
@click.option("--check", is_flag=True, help="Dry run: what would change, its diff, and the tests on each host.")
@click.option("--limit", metavar="HOST", help="Only this host, or these, with commas between.")
@click.option("--rollback", is_flag=True, help="Go back to the release before, which is kept on each host.")
@click.option("--lab", is_flag=True, help="The hosts are those of 'restante lab up'.")
@json_option
def command(
    *, spec: Path, bundle: Path | None, check: bool, limit: str | None, rollback: bool, lab: bool, as_json: bool
) -> None:
    """Compare all hosts with SPEC, then change those that differ, one at a time, tier by tier.

    Each host tests the whole new release before anything changes, and goes back to the one before by itself when a
    service does not come up. The run stops at the first failure. References (file:PATH) are relative to SPEC's folder.

    Exit status: 0 every host is as the spec says, 1 a host failed or could not be reached, 2 the input is wrong.
    """
    with bundle_at(spec, bundle) as rendered:
        outcome = deploy(
            rendered, check=check, limit=limit, rollback=rollback, secrets=spec.parent,
            output=sys.stderr if as_json else None, **_lab(spec, rendered) if lab else {},
        )  # fmt: skip
    if as_json:
        click.echo(json.dumps(_as_json(outcome), indent=2))
    outcome.demand()


def _lab(spec: Path, bundle: Path) -> dict[str, Any]:
    """How the lab's hosts are reached, and the secrets that a lab brings by itself: certificate and store password."""
    from restante.cli.session import lab_for
    from restante.lab.authority import certificate, store_password

    lab, _, _ = lab_for(spec)
    environment = {"RESTANTE_LAB_STORE_PASSWORD": store_password(lab.authority)}
    plan = json.loads((bundle / "plan.json").read_text())
    if plan["tls"]["lab"]:
        chain, key = certificate(lab.authority, plan["domain"])
        environment |= {"RESTANTE_LAB_CERTIFICATE": chain, "RESTANTE_LAB_KEY": key}
    return {
        "prefix": lab.prefix(),
        "ssh_config": lab.ssh_config,
        "environment": environment,
        "trusted": lab.authority / "hosts",
    }


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "good": outcome.good,
        "changed": outcome.changed,
        "seconds": round(outcome.seconds, 1),
        "hosts": [asdict(host) for host in outcome.hosts],
    }
