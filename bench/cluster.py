"""A replicated store of eight hosts (examples/ha.yml): from nothing to a whole cluster, and a second deploy. Needs root."""

from __future__ import annotations

import shutil
import tempfile
from functools import partial
from pathlib import Path

from bench.hosts import restante
from bench.measure import line, median_seconds, show, timed
from restante import resources


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        spec = shutil.copy(resources.examples() / "ha.yml", Path(scratch) / "restante.yml")
        try:
            with timed() as clock:
                restante("lab", "up", str(spec))
                restante("deploy", str(spec), "--lab")
            show("ha.yml from nothing to a whole cluster", f"{clock.seconds:.0f} s")
            again = median_seconds(partial(restante, "deploy", str(spec), "--lab"))
            line("second deploy of ha.yml, 8 hosts", f"{again:.1f} s", "10 s", again < 10)
        finally:
            restante("lab", "down", str(spec))


if __name__ == "__main__":
    main()
