"""Base images and package repositories, built once and kept by the hash of what went into them.

The mirror is the machine's own: it is asked of apt, and written nowhere that is tracked.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from restante.errors import FoundError
from restante.lab.machine import cache_directory

BASE = (
    "systemd", "systemd-sysv", "dbus", "openssh-server", "python3", "python3-apt", "iproute2", "procps", "sudo",
    "ca-certificates", "nftables", "kmod", "curl", "openssl",
)  # fmt: skip
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_HOOK = (
    'rm -f "$1"/etc/ssh/ssh_host_*_key* "$1"/etc/hostname "$1"/etc/resolv.conf; : > "$1"/etc/machine-id; '
    'cd "$1"/etc/systemd/system; for u in console-getty.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer '
    'fstrim.timer; do ln -sf /dev/null "$u"; done'
)
_BUILD_LIMIT_S = 900


@dataclass(frozen=True)
class Image:
    """`layers`: overlay lower directories, topmost first. `repository`: bound at /srv/repo in each host."""

    layers: tuple[Path, ...]
    repository: Path


def images(packages: dict[str, Sequence[str]]) -> dict[str, Image]:
    """Suite -> image, built side by side where the cache has none."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(zip(packages, pool.map(_image, packages, packages.values()), strict=True))


def _image(suite: str, packages: Sequence[str]) -> Image:
    base = _cached("base", (suite, *BASE, _HOOK), lambda target: _build_base(suite, target))
    wanted = (base.name, *sorted(packages))
    repository = _cached("repo", wanted, lambda target: _build_repository(suite, base, sorted(packages), target))
    lists = _cached("lists", (*wanted, "1"), lambda target: _build_lists(base, repository, target))
    return Image((lists, base), repository)


def _cached(kind: str, what: Sequence[str], build: Callable[[Path], None]) -> Path:
    """The cached folder for `what`. A build goes to another name first: an interrupted one is never taken for whole."""
    name = f"{kind}-{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}"
    target = cache_directory() / name
    with _lock(name):
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache_directory()) as folder:
                beside = Path(folder) / "tree"
                build(beside)
                beside.rename(target)
    return target


@contextmanager
def _lock(name: str) -> Iterator[None]:
    cache_directory().mkdir(parents=True, exist_ok=True)
    with (cache_directory() / f".{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build_base(suite: str, target: Path) -> None:
    mirror = _mirror()
    argv = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(BASE)}", f"--keyring={_KEYRING}"]
    argv += [f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("locale", "doc")]
    _run(
        [*argv, f"--customize-hook={_HOOK}", suite, str(target), *([mirror] if mirror else [])],
        f"the base image of {suite}",
    )


def _mirror() -> str | None:
    """The Debian mirror that this machine's apt uses; None elsewhere (Ubuntu), where mmdebstrap has its own default."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()
    return next((uri for uri in found if "security" not in uri), None)


def _build_repository(suite: str, base: Path, packages: Sequence[str], target: Path) -> None:
    """The packages and all they need beyond the base, computed from outside: no host needs a network."""
    source = next((base / "etc/apt").glob("sources.list*"), None)
    lines = (base / "etc/apt/sources.list").read_text() if source else f"deb {_mirror()} {suite} main\n"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for name in ("lists/partial", "cache/archives/partial"):
            (work / name).mkdir(parents=True)
        (work / "sources.list").write_text(lines)
        settings = {
            "Dir::Etc::sourcelist": work / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
            "Dir::State::lists": work / "lists", "Dir::Cache": work / "cache", "APT::Install-Recommends": "false",
            "Dir::State::status": base / "var/lib/dpkg/status", "APT::Sandbox::User": "root",
            "Dir::Etc::trusted": _KEYRING,
        }  # fmt: skip
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        _run(["apt-get", "-qq", *options, "update"], f"the package lists of {suite}")
        _run(["apt-get", "-qq", "-y", *options, "--download-only", "install", *packages], f"the packages for {suite}")
        target.mkdir()
        for package in (work / "cache/archives").glob("*.deb"):
            shutil.move(package, target)
    index = subprocess.run(["dpkg-scanpackages", "-m", ".", "/dev/null"], cwd=target, capture_output=True, check=True)
    (target / "Packages").write_bytes(index.stdout)


def _build_lists(base: Path, repository: Path, target: Path) -> None:
    """An overlay layer with the repository as the only apt source and its lists read: apt works in a host as it is."""
    for path, text in {
        "etc/apt/sources.list": "deb [trusted=yes] file:///srv/repo ./\n",
        "etc/apt/apt.conf.d/90lab": 'Acquire::Languages "none";\nAPT::Sandbox::User "root";\n',
    }.items():
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        (target / path).write_text(text)
    (target / "srv/repo").mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work, tempfile.TemporaryDirectory() as root:
        script = (
            f"mount -t overlay overlay -o lowerdir={base},upperdir={target},workdir={work} {root} && "
            f"mount --bind -o ro {repository} {root}/srv/repo && chroot {root} apt-get -qq update"
        )
        _run(["unshare", "--mount", "sh", "-c", script], "the package lists of the hosts")


def _run(argv: list[str], what: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_BUILD_LIMIT_S)
    if done.returncode:
        raise FoundError(f"{what} could not be built: {' '.join(argv[:2])} said\n{done.stderr.strip()[-2000:]}")
