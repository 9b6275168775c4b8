"""What the units call: `make` from the timer, `receive` for PostgreSQL's log."""

from __future__ import annotations

import sys

from restante.errors import InputError, RestanteError
from restante.server.backup import job
from restante.server.backup.settings import load


def run() -> None:
    """Entry point."""
    try:
        match sys.argv[1:]:
            case ["make"]:
                made = job.make(load())
                sys.stdout.write(f"{made.file}: {made.size >> 10} KiB, verified\n")
            case ["receive"]:
                job.receive(load())
            case words:
                raise InputError(f"backup {' '.join(words)} is nothing to do; accepted: make, receive")
    except RestanteError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        sys.stderr.write(f"the backup failed: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
