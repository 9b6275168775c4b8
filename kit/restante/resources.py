"""Where templates/, roles/, examples/ and the server's requirements are: beside kit/ in a checkout, in _data/ inside an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "_data"


def root() -> Path:
    """The folder that holds templates/, roles/ and examples/."""
    return _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1]


def templates() -> Path:
    return root() / "templates"


def roles() -> Path:
    return root() / "roles"


def examples() -> Path:
    return root() / "examples"


def server_requirements() -> Path:
    return root() / "requirements" / "server.txt"


def package() -> Path:
    return _PACKAGE


def checks() -> Path:
    return _PACKAGE / "checks"
