"""`restante agent`."""

from __future__ import annotations

import logging
import os
import subprocess
from pathlib import Path

import click

from restante.client.mailbox import Mailbox
from restante.client.seen import Seen

OUTPUT_LIMIT = 500  # characters of a program's last words that go with the message when it is given back


@click.group("agent")
def command() -> None:
    """Be an agent: handle the mail of an inbox."""


@command.command()
@click.option("--url", envvar="RESTANTE_URL", help="The post office.")
@click.option("--inbox", envvar="RESTANTE_INBOX", help="As in support@example.org.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A file that holds the token, instead of RESTANTE_TOKEN or the systemd credential restante-token.",
)
@click.option("--consumer", default="default", show_default=True)
@click.option("--max-handling", default=1800.0, show_default=True, help="Seconds that one message may take.")
@click.option("--seen", type=click.Path(path_type=Path, dir_okay=False), help="A file that remembers what was handled.")
@click.option("--once", is_flag=True, help="End when nothing waits, instead of waiting for mail.")
@click.argument("argv", nargs=-1, required=True, metavar="-- COMMAND...")
def run(
    url: str | None, inbox: str | None, token_file: Path | None, consumer: str, max_handling: float, seen: Path | None, once: bool,
    argv: tuple[str, ...],
) -> None:  # fmt: skip
    """Run COMMAND once for each message, the mail as it came on its standard input.

    Exit status 0 acknowledges; any other gives the message back, to come again later, with the last line that COMMAND wrote to
    its standard error. Its environment has RESTANTE_MESSAGE_ID, RESTANTE_SUBJECT, RESTANTE_FROM and RESTANTE_ATTEMPT.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.INFO)
    token = token_file.read_text().strip() if token_file else None
    handled = Seen(seen) if seen else None
    with Mailbox(url, inbox=inbox, token=token, consumer=consumer, max_handling_s=max_handling) as box:
        deliveries = iter(lambda: next(iter(box.receive(1)), None), None) if once else box.consume()
        for delivery in deliveries:
            assert delivery is not None
            with delivery:
                message = delivery.message
                if handled is not None and message.id in handled:
                    continue
                environment = {
                    "RESTANTE_MESSAGE_ID": message.id, "RESTANTE_SUBJECT": message.subject.replace("\0", ""),
                    "RESTANTE_FROM": message.sender.replace("\0", ""), "RESTANTE_ATTEMPT": str(delivery.attempt),
                }  # fmt: skip
                _run(argv, box.raw(message.id), {**os.environ, **environment}, max_handling)
                if handled is not None:
                    handled.add(message.id)


def _run(argv: tuple[str, ...], mail: bytes, environment: dict[str, str], limit_s: float) -> None:
    """Raises ProgramError unless it ended with 0."""
    try:
        done = subprocess.run(argv, input=mail, env=environment, stderr=subprocess.PIPE, timeout=limit_s, check=False)
    except OSError as error:
        raise ProgramError(f"{argv[0]} could not be started: {error.strerror}") from error
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{argv[0]} took longer than {limit_s:.0f} s, and was killed") from None
    text = done.stderr.decode("utf-8", "replace")
    if text:
        click.echo(text, err=True, nl=False)
    if done.returncode:
        last = text.strip().rpartition("\n")[2][:OUTPUT_LIMIT]
        raise ProgramError(f"{argv[0]} ended with {done.returncode}{': ' + last if last else ''}")


class ProgramError(Exception):
    """The program did not handle the message."""
