"""Base systems and package archives, built once and kept under the hash of what went in.

    base-SUITE-HASH/       root/          a Debian as mmdebstrap makes it, settled to be booted many times
                           sources.list   where it came from
    packages-SUITE-HASH/   archive/       the packages asked for with all they need, a local repository
                           layer/         apt's lists of it, to be laid over the base

A build happens beside its place and is renamed into it, so that an interrupted one is never taken for a whole one.
Nothing here is refreshed: remove a directory to have newer packages.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic

from restante.lab import sources
from restante.lab.machine import Image, cache_directory
from restante.lab.runner import ARCHIVE_ON_HOST
from restante.lab.system import alone, run

Say = Callable[[str], None]

# What every host has before a deploy: systemd, the way in, Ansible's python, and the tools that checks read with.
_INCLUDED = (
    "systemd", "systemd-sysv", "dbus", "kmod", "openssh-server", "sudo", "python3", "python3-apt", "iproute2",
    "procps", "nftables", "curl", "openssl", "ca-certificates",
)  # fmt: skip

# No translation or manual is read in a lab. Man directories stay: update-alternatives of some packages wants them.
_LEFT_OUT = ("/usr/share/locale/*", "/usr/share/doc/*")

# Work that a host with minutes to live has no use for, and a console that it does not have.
_MASKED = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service", "dpkg-db-backup.timer", "e2scrub_all.timer",
    "fstrim.timer",
)  # fmt: skip

# Part of each name in the cache: count up when what is done below changes.
_RECIPE = "1"
_BUILD_LIMIT_S = 900


def images(wanted: Mapping[str, Sequence[str]], say: Say) -> dict[str, Image]:
    """Suite and packages -> image; what the cache lacks is built, the suites side by side."""
    with ThreadPoolExecutor(max_workers=max(len(wanted), 1)) as pool:
        made = pool.map(lambda suite: _image(suite, sorted(set(wanted[suite])), say), wanted)
        return dict(zip(wanted, made, strict=True))


def _image(suite: str, packages: Sequence[str], say: Say) -> Image:
    architecture = run(["dpkg", "--print-architecture"]).strip()
    base_name = f"base-{suite}-{_digest([_RECIPE, architecture, *_INCLUDED, *_LEFT_OUT, *_MASKED])}"
    base = _made(base_name, f"{suite} base", lambda into: _build_base(suite, into), say)
    name = f"packages-{suite}-{_digest([base_name, ARCHIVE_ON_HOST, *packages])}"
    made = _made(name, f"{suite} packages", lambda into: _build_packages(architecture, packages, base, into), say)
    return Image((made / "layer", base / "root"), made / "archive")


def _made(name: str, label: str, build: Callable[[Path], None], say: Say) -> Path:
    place, beside = cache_directory() / name, cache_directory() / f"{name}.new"
    cache_directory().mkdir(parents=True, exist_ok=True)
    if place.exists():
        return place
    with alone(cache_directory() / f"{name}.lock"):
        if not place.exists():
            began = monotonic()
            say(f"{label}: building, once")
            if beside.exists():
                shutil.rmtree(beside)
            beside.mkdir(mode=0o755)
            build(beside)
            run(["sync", "-f", str(beside)], timeout=_BUILD_LIMIT_S)
            beside.rename(place)
            say(f"{label}: built in {monotonic() - began:.1f} s")
    return place


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _build_base(suite: str, into: Path) -> None:
    root, lines = into / "root", sources.lines_for(suite)
    run(
        [
            "unshare", "--mount", "mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_INCLUDED)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
            suite, str(root), *(["-"] if lines else []),
        ],
        stdin="\n".join(lines), timeout=_BUILD_LIMIT_S, env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    (into / "sources.list").write_text("\n".join(path.read_text() for path in _lists(root)))
    settle(root)


def settle(root: Path) -> None:
    """Take out what must differ from host to host, and what names the archive that it came from."""
    etc = root / "etc"
    for path in (*_lists(root), *etc.glob("ssh/ssh_host_*"), etc / "hostname", etc / "resolv.conf"):
        path.unlink(missing_ok=True)
    shutil.rmtree(root / "var/lib/apt/lists")
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    (etc / "machine-id").write_text(
        ""
    )  # empty, not missing: an id is made at boot, yet it is no first boot (machine-id(5))
    for unit in _MASKED:
        link = etc / "systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    _mark_updated(root)


def _lists(root: Path) -> list[Path]:
    apt = root / "etc/apt"
    return [path for path in (apt / "sources.list", *sorted(apt.glob("sources.list.d/*"))) if path.exists()]


def _mark_updated(root: Path) -> None:
    """Spare each host the rebuilding of caches that ConditionNeedsUpdate= asks for (systemd-update-done.service(8))."""
    updated = (root / "usr").stat().st_mtime_ns
    for directory in (root / "etc", root / "var"):
        (directory / ".updated").touch()
        os.utime(directory / ".updated", ns=(updated, updated))


def _build_packages(architecture: str, packages: Sequence[str], base: Path, into: Path) -> None:
    """The archive, and a layer with its lists read.

    Without them a host's empty lists look recent to a play's cache_valid_time, which then finds no package.
    """
    archive, layer, scratch = into / "archive", into / "layer", into / "scratch"
    archive.mkdir()
    if packages:
        _download(architecture, packages, base, scratch, archive)
    index = run(["sh", "-c", 'cd "$0" && dpkg-scanpackages -m . /dev/null', str(archive)], timeout=_BUILD_LIMIT_S)
    (archive / "Packages").write_text(index)
    for path, text in {
        "etc/apt/sources.list": f"deb [trusted=yes] file://{ARCHIVE_ON_HOST} ./\n",
        "etc/apt/apt.conf.d/90lab": 'Acquire::Languages "none";\n',
    }.items():
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        (layer / path).write_text(text)
    (layer / ARCHIVE_ON_HOST.lstrip("/")).mkdir(parents=True)
    for name in ("scratch", "work"):
        (into / name).mkdir(exist_ok=True)
    script = (
        'mount -t overlay overlay -o "lowerdir=$0,upperdir=$1/layer,workdir=$1/work" "$1/scratch" && '
        f'mount --bind "$1/archive" "$1/scratch{ARCHIVE_ON_HOST}" && chroot "$1/scratch" apt-get -qq update'
    )
    run(["unshare", "--mount", "sh", "-c", script, str(base / "root"), str(into)], timeout=_BUILD_LIMIT_S)
    for name in ("scratch", "work"):
        shutil.rmtree(into / name)


def _download(architecture: str, packages: Sequence[str], base: Path, scratch: Path, archive: Path) -> None:
    """The packages and what they need beyond the base, reckoned from outside: a host has no network to ask."""
    for name in ("lists/partial", "cache/archives/partial"):
        (scratch / name).mkdir(parents=True)
    # A copy, since apt's lock lies beside its status file: another lab may be building from the same base right now.
    shutil.copy(base / "root/var/lib/dpkg/status", scratch / "status")
    settings = {
        "Dir::Etc::sourcelist": base / "sources.list", "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::lists": scratch / "lists", "Dir::State::status": scratch / "status",
        "Dir::Cache": scratch / "cache", "APT::Architecture": architecture, "APT::Architectures": architecture,
        "APT::Install-Recommends": "false", "APT::Sandbox::User": "root", "Acquire::Languages": "none",
    }  # fmt: skip
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    run(["apt-get", "-qq", *options, "update"], timeout=_BUILD_LIMIT_S)
    run(["apt-get", "-qq", "-y", *options, "--download-only", "install", *packages], timeout=_BUILD_LIMIT_S)
    for package in scratch.glob("cache/archives/*.deb"):
        package.rename(archive / package.name)
    shutil.rmtree(scratch)
