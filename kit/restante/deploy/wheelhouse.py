"""The post office's code as one archive per Python and architecture, made here: a host needs no pip and no index.

A release is what requirements/server.txt pins (with hashes) and our own files; its name is the digest of both.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path

from restante import resources
from restante.errors import InputError

# What the runtime is made of, agents' side too. Server and client import protocol, systemd and errors, and nothing else of ours;
# the verbs of a running post office import these and what of cli/ is named here (pyproject.toml, importlinter).
PARTS = (
    "__init__.py", "__main__.py", "errors.py", "systemd.py", "protocol", "server", "client",
    "cli/__init__.py", "cli/main.py", "cli/options.py", "cli/mailbox",
)  # fmt: skip
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
GLIBC = 36  # Debian 12 has 2.36; pip takes no range of manylinux tags, so each is named
PIP_LIMIT_S = 600


@cache
def release() -> str:
    """Name of the release that this kit carries."""
    whole = hashlib.sha256(resources.server_requirements().read_bytes())
    for path, content in package().items():
        whole.update(f"{path}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return whole.hexdigest()[:16]


def package() -> dict[str, bytes]:
    """Our own files: path below the release folder -> bytes."""
    root = resources.package()
    found = (path for part in PARTS for path in ([root / part] if part.endswith(".py") else (root / part).rglob("*")))
    return {
        f"restante/{path.relative_to(root)}": path.read_bytes()
        for path in sorted(found)
        if path.is_file() and "__pycache__" not in path.parts
    }


def prepare(bundle: Path) -> Path:
    """See to it that every archive that the bundle's hosts may need is in the cache; returns the cache's folder."""
    for manifest in sorted(bundle.glob("hosts/*/manifest.json")):
        host = json.loads(manifest.read_text())
        for folder, tree in host.get("trees", {}).items():
            _archive(Path(folder).name, tree["python"], host["arch"])
    return _cache()


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "restante" / "wheelhouse"


def _archive(name: str, python: str, arch: str) -> None:
    target = _cache() / f"{name}-{python}-{arch}.tar.gz"
    if target.exists():
        return
    if name != release():
        raise InputError(
            f"the bundle was rendered with another version of the kit (server release {name}); render again"
        )
    _cache().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_cache()) as work:
        _install(Path(work) / "tree", python, arch)
        beside = Path(work) / "archive"
        beside.write_bytes(_pack(_contents(Path(work) / "tree")))
        beside.rename(target)


def _install(into: Path, python: str, arch: str) -> None:
    """From wherever this machine's own pip takes packages. No marker in server.txt depends on the Python: a test says so."""
    tags = [f"manylinux_2_{minor}_{MACHINES[arch]}" for minor in range(GLIBC, 4, -1)]
    platforms = [word for tag in (*tags, f"manylinux2014_{MACHINES[arch]}") for word in ("--platform", tag)]
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes",
            "--only-binary=:all:", "--no-deps", "--no-compile", "--target", str(into), "--python-version", python,
            *platforms, "--requirement", str(resources.server_requirements())]  # fmt: skip
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PIP_LIMIT_S, check=False)
    if done.returncode:
        raise InputError(
            f"the post office's packages for Python {python} on {arch} could not be fetched with this machine's pip:\n"
            f"{done.stderr.strip()}"
        )


def _contents(tree: Path) -> dict[str, bytes]:
    """Without bin/, whose scripts name this machine's Python, and RECORD, which lists them."""
    found = {str(path.relative_to(tree)): path for path in tree.rglob("*") if path.is_file()}
    kept = {name: path for name, path in found.items() if not name.startswith("bin/") and path.name != "RECORD"}
    return {name: path.read_bytes() for name, path in kept.items()} | package()


def _pack(contents: dict[str, bytes]) -> bytes:
    """The same files give the same bytes: sorted, without times or owners."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, compresslevel=6) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, data in sorted(contents.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()
