"""`restante verify`: run the bundle's checks on the live hosts and show what they found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from restante.cli import report
from restante.cli.options import json_option
from restante.cli.session import bundle_at, lab_for, spec_argument
from restante.errors import FoundError, InputError

_USAGE_ERROR = 4  # pytest's exit status for wrong arguments


@click.command("verify")
@spec_argument
@click.option("--bundle", type=click.Path(path_type=Path, file_okay=False), help="Check against this bundle.")
@click.option("--limit", "hosts", multiple=True, metavar="HOST", help="Check this host only; may be repeated.")
@click.option("--only", "ids", multiple=True, metavar="CHECK", help="Run this check only; may be repeated.")
@click.option("--quick", is_flag=True, help="Leave out the socket that must stay idle for more than a minute.")
@click.option("--lab", is_flag=True, help="The hosts are those of `restante lab up`.")
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML to this file.")
@click.option("--html", type=click.Path(path_type=Path), help="Write a page to this file.")
@json_option
def command(
    spec: Path, bundle: Path | None, hosts: tuple[str, ...], ids: tuple[str, ...], quick: bool, lab: bool,
    junit: Path | None, html: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Check the live hosts of SPEC. Exit status: 0 all well, 1 a check failed."""
    for path in (junit, html):
        if path and not path.resolve().parent.is_dir():
            raise InputError(f"{path}: there is no folder {path.resolve().parent}; make it first, or name another file")
    with bundle_at(spec, bundle) as folder, tempfile.TemporaryDirectory(prefix="restante-verify-") as scratch:
        known = json.loads((folder / "plan.json").read_bytes())["hosts"]
        if unknown := set(hosts) - known.keys():
            raise InputError(f"there is no host {', '.join(sorted(unknown))}; accepted: {', '.join(known)}")
        arguments = [f"--restante-host={host}" for host in hosts] + [f"--restante-only={check}" for check in ids]
        arguments += ["--quick"] * quick + ([f"--junitxml={junit.resolve()}"] if junit else [])
        prefix: list[str] = []
        if lab:
            machines = lab_for(spec)[0]
            prefix = machines.prefix()
            arguments += [
                f"--restante-ssh-config={machines.ssh_config}",
                f"--restante-ca={machines.authority / 'ca.pem'}",
            ]
        rows = _run(folder, Path(scratch) / "report.json", prefix, arguments)
    if html:
        html.write_text(report.page(rows, spec.name))
    click.echo(json.dumps(rows, indent=2) if as_json else report.table(rows))
    raise click.exceptions.Exit(1 if any(row["outcome"] == "failed" for row in rows) else 0)


def _run(folder: Path, rows: Path, prefix: list[str], arguments: list[str]) -> list[dict[str, Any]]:
    """pytest as a process of its own: the lab's hosts are reached from inside its namespaces only."""
    checks = folder.resolve() / "checks"
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={checks}", "-c", os.devnull]
    long = "" if "--quick" in arguments else " (over a minute: a socket must stay idle; --quick leaves that out)"
    click.echo(f"checking{long} ...", err=True)
    done = subprocess.run(
        [*prefix, *argv, f"--restante-report={rows}", *arguments, str(checks)],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    if done.returncode == _USAGE_ERROR:
        raise InputError(
            (done.stderr.strip().splitlines() or ["the checks were called wrongly"])[0].removeprefix("ERROR: ")
        )
    if not rows.exists():
        raise FoundError(f"the checks did not run:\n{done.stdout}{done.stderr}")
    found: list[dict[str, Any]] = json.loads(rows.read_bytes())
    if not found:
        raise FoundError("no check ran: nothing of this spec asks for one on these hosts")
    return found
