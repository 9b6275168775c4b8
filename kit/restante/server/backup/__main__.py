"""What the units call: `make` and `try` from their timers, `receive` for PostgreSQL's log."""

from __future__ import annotations

import sys

from restante.errors import InputError, RestanteError
from restante.server.backup import job, trial
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
            case ["try"]:
                held = trial.hold(job.cluster(load()), load())
                sys.stdout.write(f"{held.file}: restored {held.messages} messages in {held.took_s:g} s, and removed\n")
            case words:
                raise InputError(f"backup {' '.join(words)} is nothing to do; accepted: make, try, receive")
    except RestanteError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        sys.stderr.write(f"the backup failed: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    run()
