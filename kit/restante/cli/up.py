"""`restante up`: the post office on one machine, with an SMTP listener in place of Postfix."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from pathlib import Path

import click

from restante.errors import InputError
from restante.server.app import PostOffice, running
from restante.server.settings import Http, Inboxes, Server, Settings, StoreSettings, Webhooks

NAME = "restante up"


@click.command("up")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("restante-data"),
    show_default=True,
    help="Where mail is kept.",
)
@click.option("--domain", default="example.test", show_default=True, help="Whose mail is taken.")
@click.option(
    "--inbox",
    "inboxes",
    multiple=True,
    default=["support"],
    show_default=True,
    help="Created when missing; may be repeated.",
)
@click.option("--http", "http_at", default="127.0.0.1:8025", show_default=True, metavar="ADDRESS:PORT", help="The API.")
@click.option(
    "--smtp", "smtp_at", default="127.0.0.1:2525", show_default=True, metavar="ADDRESS:PORT", help="Mail comes in here."
)
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the token here (mode 0600) instead of printing it.",
)
def command(
    data: Path, domain: str, inboxes: tuple[str, ...], http_at: str, smtp_at: str, token_file: Path | None
) -> None:
    """Run SQLite, SMTP and the API here until interrupted. For trying and for tests: hosts get theirs by `restante deploy`."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    settings = Settings(
        server=Server(host=socket.gethostname() or "localhost", domain=domain, data=data),
        store=StoreSettings(free_space_floor=64 << 20),
        inboxes=Inboxes(domains=(domain,), predefined=tuple(f"{name}@{domain}" for name in inboxes)),
        http=Http(), webhooks=Webhooks(https_only=False),
    )  # fmt: skip
    sockets = {"http": [_listen(http_at)], "smtp": [_listen(smtp_at)]}
    asyncio.run(_serve(settings, sockets, token_file))


def _listen(place: str) -> socket.socket:
    address, colon, port = place.rpartition(":")
    if not colon or not port.isdigit():
        raise InputError(f"{place} is not ADDRESS:PORT; as in 127.0.0.1:8025")
    try:
        return socket.create_server(
            (address.strip("[]"), int(port)), family=socket.AF_INET6 if ":" in address else socket.AF_INET
        )
    except OSError as error:
        raise InputError(f"cannot listen on {place}: {error.strerror}; choose another with --http or --smtp") from None


async def _serve(settings: Settings, sockets: dict[str, list[socket.socket]], token_file: Path | None) -> None:
    where = {name: "{}:{}".format(*found[0].getsockname()[:2]) for name, found in sockets.items()}
    async with running(settings, sockets) as office:
        token = await _token(office)
        if token_file:
            _keep(token_file, token)
        inbox = settings.inboxes.predefined[0] if settings.inboxes.predefined else f"support@{settings.server.domain}"
        shown = f"$(cat {token_file})" if token_file else token
        click.echo(
            f"mail for {settings.server.domain} is taken at {where['smtp']} and kept in {settings.store_path}\n"
            f"the API is at http://{where['http']}, described in /openapi.json\n\n"
            f"export RESTANTE_URL=http://{where['http']} RESTANTE_TOKEN={shown}\n"
            f"curl -s -H \"Authorization: Bearer $RESTANTE_TOKEN\" -H 'Content-Type: application/json' "
            f"-d '{{\"wait_seconds\": 20}}' $RESTANTE_URL/v1/inboxes/{inbox}/receive\n"
        )
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()


async def _token(office: PostOffice) -> str:
    """An admin token; the one of the run before is revoked."""
    store = office.post.store
    for each in await store.tokens():
        if each.name == NAME and not each.revoked_at:
            await store.revoke_token(each.id)
    return (await store.add_token(NAME, admin=True, scopes={}))[0]


def _keep(path: Path, token: str) -> None:
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(token)
