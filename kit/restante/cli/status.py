"""`restante status`: what the live hosts are at this moment."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

from restante.checks.bundle import Bundle
from restante.cli.options import json_option
from restante.cli.session import bundle_at, spec_argument, ways
from restante.deploy.state import HostState, ask

PAUSE_S = 2


@click.command("status")
@spec_argument
@click.option("--bundle", type=click.Path(path_type=Path, file_okay=False), help="Compare with this bundle.")
@click.option("--lab", is_flag=True, help="The hosts are those of `restante lab up`.")
@click.option("--watch", is_flag=True, help=f"Look again every {PAUSE_S} s, until it is interrupted.")
@json_option
def command(*, spec: Path, bundle: Path | None, lab: bool, watch: bool, as_json: bool) -> None:
    """Show the hosts of SPEC: release, who leads the store and who lags, sockets, queues. Nothing is changed.

    Exit status: 0 all is as it should be, 1 something is not.
    """
    with bundle_at(spec, bundle) as folder, tempfile.TemporaryDirectory(prefix="restante-status-") as scratch:
        known = ways(spec, Bundle.read(folder), Path(scratch), lab=lab)
        commands = {name: [*way, "python3", "-"] for name, way in known.items()}
        states = ask(folder, commands)
        while watch:
            if not as_json:
                click.clear()
                click.echo(f"{time.strftime('%H:%M:%S')}  Ctrl-C ends")
            _show(states, as_json=as_json)
            time.sleep(PAUSE_S)
            states = ask(folder, commands)
    _show(states, as_json=as_json)
    raise click.exceptions.Exit(1 if any(state.troubles() for state in states) else 0)


def _show(states: Sequence[HostState], *, as_json: bool) -> None:
    if as_json:
        rows = [
            {"name": each.name, "tiers": each.tiers, "release": each.release, "wanted": each.wanted,
             "troubles": each.troubles(), **each.told}
            for each in states
        ]  # fmt: skip
        click.echo(json.dumps({"hosts": rows}, indent=2))
        return
    width, broad = max(len(each.name) for each in states), max(len(" ".join(each.tiers)) for each in states)
    for each in states:
        mark = "!" if each.troubles() else " "
        click.echo(
            f"{mark} {' '.join(each.tiers):<{broad}}  {each.name:<{width}}  {each.release or '-':<16}  {each.says()}"
        )
