"""The base of the distribution stays light: an agent carries neither the kit nor the server."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = {
    "pydantic",
    "yaml",
    "jinja2",
    "ansible",
    "fastapi",
    "uvicorn",
    "aiohttp",
    "orjson",
    "psycopg",
    "cryptography",
    "click",
}


def test_it_has_three_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [name.partition(">")[0] for name in project["dependencies"]] == ["click", "urllib3", "websockets"]


def test_importing_it_pulls_in_none_of_the_kit_or_the_server() -> None:
    code = "import json, sys; from restante import AsyncMailbox, Mailbox, Seen, verify_webhook; print(json.dumps(list(sys.modules)))"
    loaded = set(json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    ours = {name.split(".")[1] for name in loaded if name.startswith("restante.")}
    assert ours <= {"client", "protocol", "errors", "systemd"}
    assert not loaded & HEAVY
