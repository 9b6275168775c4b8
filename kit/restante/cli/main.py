"""The command `restante`: a verb is a module of this folder or of mailbox/, imported only when it is called.

A post host has the second kind alone, and is told of no other.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

import click

from restante import __version__
from restante.errors import InputError, RestanteError

VERBS = {
    "init": "Write an annotated spec to start from.",
    "validate": "Say whether a spec is valid; every problem at once.",
    "explain": "Show every derived value: number, unit, reason, source.",
    "schema": "Print the JSON Schema of the spec.",
    "render": "Write the bundle: one tree of files per host.",
    "diff": "Compare a spec with an earlier render, and say what it means.",
    "deploy": "Apply the bundle to the hosts with Ansible.",
    "verify": "Check the live hosts with testinfra.",
    "status": "Show what the live hosts are: releases, who leads, lag, sockets, queues.",
    "lab": "Boot the spec's hosts as real systemd machines here.",
    "drill": "Show each cause of silence on real hosts, and that the kit loses nothing.",
    "up": "Run the post office on this machine, with nothing else installed.",
    "inbox": "Create, list and show inboxes.",
    "message": "List, show and save messages; reading never acknowledges.",
    "receive": "Hand over what waits in an inbox, under a lease.",
    "ack": "Acknowledge what was received.",
    "agent": "Be an agent: run a program once for each message.",
    "dead-letters": "List and redrive what no attempt could handle.",
    "webhook": "Create, test, pause and resume webhooks.",
    "token": "Create, list and revoke tokens.",
    "tail": "Show mail as it arrives.",
    "ledger": "Account for every mail, from Postfix to its acknowledgement.",
    "backup": "Copy the store while it runs; list and verify copies.",
    "restore": "Put a copy of the store back.",
    "dns": "Print the DNS records to publish, and check port 25.",
}


class Verbs(click.Group):
    """Lists the verbs without importing them, so that --help answers at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in VERBS if _module(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _module(cmd_name) if cmd_name in VERBS else None
        if module is None:
            return None
        try:
            command: click.Command = importlib.import_module(module).command
        except ModuleNotFoundError as missing:
            raise InputError(
                f"restante {cmd_name} needs {missing.name}, which is not installed; install the kit: pip install 'restante[kit,server]'"
            ) from None
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, VERBS[name]) for name in self.list_commands(ctx)])


def _module(verb: str) -> str | None:
    """Where the verb is, when this installation has it."""
    names = (f"{package}.{verb.replace('-', '_')}" for package in ("restante.cli", "restante.cli.mailbox"))
    return next((name for name in names if importlib.util.find_spec(name)), None)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="restante")
def main() -> None:
    """One YAML spec becomes deployed, verified Debian hosts whose sockets cannot fall silent.

    Exit status: 0 done, 1 something was found or failed, 2 the input is wrong.
    """


def run() -> None:
    """Entry point. An error of ours is shown as its sentence; click shows its own the same way."""
    try:
        sys.exit(main(standalone_mode=False))  # the status that a verb ended with, None for 0
    except click.Abort:
        click.echo("restante: interrupted", err=True)
        sys.exit(1)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except RestanteError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
