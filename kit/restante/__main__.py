"""The command's way in: the base distribution is the light part, and says so when the kit is not installed."""

from __future__ import annotations

import sys


def run() -> None:
    try:
        from restante.cli.main import run as command
    except ModuleNotFoundError as missing:
        print(
            f"restante: the command needs {missing.name}; install the kit: pip install 'restante[kit]'", file=sys.stderr
        )
        sys.exit(2)
    command()


if __name__ == "__main__":
    run()
