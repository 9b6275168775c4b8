"""`restante-server [FILE]`: the post office as a service. FILE is /etc/restante/restante.toml."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import uvloop

from restante import systemd
from restante.errors import InputError, RestanteError
from restante.server.app import PostOffice
from restante.server.settings import Settings, load

DEFAULT = Path("/etc/restante/restante.toml")


def run() -> None:
    """Entry point."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    try:
        settings = load(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT)
        sockets = systemd.sockets()
        if not sockets.get("http"):
            raise InputError(
                "no socket was passed on; systemd starts this server with its sockets, `restante up` without systemd"
            )
        uvloop.run(_serve(settings, sockets))
    except RestanteError as error:
        sys.stderr.write(f"restante-server: {error}\n")
        sys.exit(error.exit_code)


async def _serve(settings: Settings, sockets: dict) -> None:  # type: ignore[type-arg]
    office = PostOffice(settings, sockets)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, office.stop)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, office.move)
    await office.run()


if __name__ == "__main__":
    run()
