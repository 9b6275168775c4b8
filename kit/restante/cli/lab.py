"""`restante lab`: the spec's hosts as real systemd machines on this one."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import click

from restante.cli.options import json_option
from restante.cli.session import lab_for, lab_names, spec_argument
from restante.errors import FoundError, InputError, RestanteError
from restante.lab.lab import Lab
from restante.lab.machine import lab_directory, labs_directory


@click.group("lab")
def command() -> None:
    """Boot the spec's hosts as real systemd machines here, under the addresses that the spec gives them.

    Needs root on Debian or Ubuntu. Nothing of it reaches the network: the hosts live in namespaces of their own.
    """


@command.command("up")
@spec_argument
def up(spec: Path) -> None:
    """Boot the hosts; what runs already stays."""
    start = time.monotonic()
    lab, machines, packages = lab_for(spec)
    lab.up(machines, packages, names=lab_names(spec), say=lambda line: click.echo(f"  {line}"))
    click.echo(f"lab {lab.id}: {len(machines)} hosts up after {time.monotonic() - start:.1f} s")


@command.command("status")
@spec_argument
@json_option
def status(spec: Path, as_json: bool) -> None:
    """Say which hosts run."""
    rows = Lab(lab_directory(spec)).status()
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['name']}: {row['state']}, {row['link']}, {row['suite']}, {', '.join(row['addresses'])}")
    if not rows:
        click.echo("no lab is up for this spec; start one with: restante lab up SPEC")


@command.command("ssh")
@spec_argument
@click.argument("host")
def ssh(spec: Path, host: str) -> None:
    """Log in to HOST."""
    lab = Lab(lab_directory(spec))
    argv = [*lab.prefix(), "ssh", "-F", str(lab.ssh_config), lab.host(host).name]
    os.execvp(argv[0], argv)  # noqa: S606 - the terminal is handed over


@command.command("exec", context_settings={"ignore_unknown_options": True})
@spec_argument
@click.argument("host")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(spec: Path, host: str, argv: tuple[str, ...]) -> None:
    """Run a command on HOST, at its console and not over the network; its exit status is ours."""
    done = subprocess.run(Lab(lab_directory(spec)).host(host).console_command(argv), check=False)
    raise click.exceptions.Exit(done.returncode)


@command.command("down")
@click.argument("spec", type=click.Path(path_type=Path), required=False)
@click.option("--all", "every", is_flag=True, help="Every lab of this machine, also what a killed process left.")
def down(spec: Path | None, every: bool) -> None:
    """Stop the hosts and remove all that they left."""
    if every == bool(spec):
        raise InputError("restante lab down: name a SPEC, or say --all")
    directories = sorted(labs_directory().glob("*/")) if every else [lab_directory(spec)] if spec else []
    failed = []
    for directory in directories:
        lab = Lab(directory)
        try:
            lab.down()
        except (OSError, RestanteError) as error:
            failed.append(f"lab {lab.id}: {error}")
        else:
            click.echo(f"lab {lab.id}: down, nothing left")
    if failed:
        raise FoundError("\n".join(failed))
    if not directories:
        click.echo("there is no lab on this machine")
