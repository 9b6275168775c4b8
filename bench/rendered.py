"""What the kit renders for a post host and a store: the peers and the ceiling get these settings too."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

from restante import resources
from restante.plan.build import build
from restante.plan.facts import Facts
from restante.render.bundle import render_bundle
from restante.spec.load import parse


@cache
def _bundle() -> dict[str, bytes]:
    spec = resources.examples() / "two-tier.yml"
    return render_bundle(build(parse(spec.read_text(), str(spec), spec.parent), Facts(datetime.now(UTC))))


def rendered(host: str, end: str) -> str:
    """The one file of that host whose path ends so."""
    (found,) = (
        content for path, content in _bundle().items() if path.startswith(f"hosts/{host}/") and path.endswith(end)
    )
    return found.decode()
