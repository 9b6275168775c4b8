"""A host in a temporary folder, with a systemd that only remembers what it was told."""

from __future__ import annotations

import getpass
import grp
import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restante import resources

sys.path.insert(0, str(resources.roles() / "restante" / "module_utils"))

from restante_host import apply, manifest
from restante_host.manifest import Manifest
from restante_host.system import Host, Result, System

OWNER, GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
CODE = Path(__file__)


@dataclass
class FakeUnit:
    active: str = "inactive"
    enabled: bool = False
    restarts: int = 0
    sub: str = "dead"

    def shown(self) -> str:
        state = "enabled" if self.enabled else "disabled"
        lines = "LoadState=loaded", f"ActiveState={self.active}", f"SubState={self.sub}", f"UnitFileState={state}"
        return "\n".join([*lines, f"NRestarts={self.restarts}", ""])


@dataclass
class FakeSystem(System):
    """`broken`: units that do not start. `generations`: what each `running` command answers."""

    units: dict[str, FakeUnit] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    crashing: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    installed: set[str] = field(default_factory=lambda: {"nginx"})
    users: set[str] = field(default_factory=set)
    generations: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    clock: float = 0
    cluster: dict[str, str] = field(default_factory=dict)
    """What the component's own program answers: `spare` or `settle` -> a complaint."""

    def now(self) -> float:
        return self.clock

    def pause(self, seconds: float) -> None:
        self.clock += seconds
        for name in self.crashing:
            self.units[name].restarts += 1

    def connects(self, address: str, timeout: float = 1) -> bool:
        return address not in self.refuses

    def run(self, argv: Sequence[str], timeout: float = 60) -> Result:
        match list(argv):
            case ["cp", *_]:
                done = subprocess.run(list(argv), capture_output=True, text=True, check=False)
                return Result(done.returncode, done.stdout, done.stderr)
            case ["unshare", *rest]:
                return self._inside(rest)
            case ["systemctl", "show", _, _, "--", *names]:
                return Result(0, "\n".join(self.units.setdefault(name, FakeUnit()).shown() for name in names), "")
            case ["systemctl", verb, *arguments]:
                return self._systemctl(verb, [name for name in arguments if not name.startswith("--")])
            case ["systemd-run", *_, "--unit", unit, _, _, _, _, _]:
                self.units[f"{unit}.timer"] = FakeUnit("active", sub="waiting")
            case ["dpkg" | "dpkg-query" | "getent" | "useradd", *_]:
                return self._database(list(argv))
            case ["/usr/local/lib/restante/cluster", verb]:
                self.log.append(f"cluster {verb}")
                return Result(1 if verb in self.cluster else 0, "", self.cluster.get(verb, ""))
            case ["generation-of", name]:
                return Result(0, self.generations.get(name, "") + "\n", "")
        self.log.append(" ".join(argv))
        return Result(0, "", "")

    def _database(self, argv: list[str]) -> Result:
        """Packages and users."""
        match argv:
            case ["dpkg", *_]:
                return Result(0, "amd64\n", "")
            case ["dpkg-query", _, _, _, "--", *names]:
                return Result(0, "".join(f"{name} installed\n" for name in names if name in self.installed), "")
            case ["getent", "passwd", name]:
                return Result(0 if name in self.users else 2, "", "")
        self.users.add(argv[-1])
        self.log.append(" ".join(argv))
        return Result(0, "", "")

    def _inside(self, argv: list[str]) -> Result:
        """A test runs with the copy of each area: `test-has FILE TEXT` fails when the copy's FILE holds TEXT."""
        places = argv[argv.index("sh") + 1 :]
        copies, command = places[: places.index("--")], places[places.index("--") + 1 :]
        self.log.append("inside: " + " ".join(command))
        if command[0] == "test-has":
            within = dict(zip(copies[1::2], copies[::2], strict=True))
            root = next(live for live in within if live.endswith("/etc"))
            file = Path(within[root], command[1].removeprefix("/etc/"))
            if command[2] in file.read_text():
                return Result(1, "", f"{command[1]}: unknown directive {command[2]}")
        return Result(0, "", "")

    def _systemctl(self, verb: str, names: list[str]) -> Result:
        self.log.append(" ".join([verb, *names]))
        for name in names:
            unit = self.units.setdefault(name, FakeUnit())
            match verb:
                case "enable":
                    unit.enabled = True
                case "disable":
                    unit.enabled, unit.active = False, "inactive"
                case "stop":
                    unit.active, unit.sub = "inactive", "dead"
                case "start" | "restart" | "reload-or-restart":
                    unit.active = "failed" if name in self.broken else "active"
        return Result(0, "", "")


@dataclass
class Machine:
    """A host on a temporary root, and the releases that are applied to it."""

    root: Path
    system: FakeSystem = field(default_factory=FakeSystem)

    @property
    def host(self) -> Host:
        return Host(self.root, self.system)

    def apply(self, release: Release) -> apply.Report:
        self.system.log.clear()
        return apply.apply(self.host, release.manifest, release.contents, CODE)

    def read(self, path: str) -> str:
        return self.host.path(path).read_text()

    def write(self, path: str, text: str) -> None:
        self.host.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.host.path(path).write_text(text)

    def has(self, path: str) -> bool:
        return os.path.lexists(self.host.path(path))


@dataclass
class Release:
    """A release built by hand: `files` and `secrets` are path -> text; each path's component is `owners[path]`."""

    name: str
    files: dict[str, str]
    components: list[dict[str, Any]]
    owners: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    packages: list[str] = field(default_factory=lambda: ["nginx"])
    users: list[str] = field(default_factory=list)
    os: str = "debian-13"

    @property
    def contents(self) -> dict[str, bytes]:
        return {path: text.encode() for path, text in (self.files | self.secrets).items()}

    @property
    def raw(self) -> dict[str, Any]:
        base = {"mode": "0644", "owner": OWNER, "group": GROUP}
        first = self.components[0]["name"] if self.components else "none"

        def entry(path: str, **more: str) -> dict[str, str]:
            return {**base, "component": self.owners.get(path, first), **more}

        return {
            "format": 1,
            "host": "edge-1",
            "release": self.name,
            "os": self.os,
            "arch": "amd64",
            "packages": self.packages,
            "users": self.users,
            "files": {path: entry(path, sha256=_sha256(text)) for path, text in self.files.items()},
            "secrets": {path: entry(path, reference="file:x", mode="0600") for path in self.secrets},
            "components": self.components,
        }

    @property
    def manifest(self) -> Manifest:
        return manifest.parse(self.raw, {path: _sha256(text) for path, text in self.secrets.items()})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


NGINX = {
    "name": "nginx",
    "generation": "g",
    "test": [["test-has", "/etc/nginx/nginx.conf", "broken"]],
    "units": ["nginx.service"],
    "change": "reload",
}


def nginx(name: str, text: str = "good", **more: Any) -> Release:
    """A release of one component, whose test refuses the word `broken` in nginx.conf."""
    extra = more.pop("files", {})
    component = {**NGINX, **more.pop("component", {})}
    return Release(name, {"/etc/nginx/nginx.conf": text, **extra}, [component], **more)
