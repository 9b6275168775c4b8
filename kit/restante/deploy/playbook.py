"""Runs ansible-playbook on a bundle, and reads what came of each host."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from restante.deploy import authority, wheelhouse
from restante.errors import FoundError, InputError

GOOD = frozenset({"unchanged", "changed", "would change"})


@dataclass(frozen=True)
class HostOutcome:
    """How one host ended: unchanged, changed, would change, refused, failed, unreachable or untouched.

    `todo` is what separated the host from its release; `message` says what went wrong, `component` where.
    """

    name: str
    state: str
    release: str = ""
    phase: str = ""
    component: str | None = None
    message: str = ""
    todo: list[str] = field(default_factory=list)
    tests: list[dict[str, str]] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.state in GOOD


@dataclass(frozen=True)
class Outcome:
    """How a deploy ended, hosts by name: they answer in an order of their own."""

    hosts: tuple[HostOutcome, ...]
    seconds: float

    @property
    def good(self) -> bool:
        return all(host.good for host in self.hosts)

    @property
    def changed(self) -> int:
        return sum(host.state in {"changed", "would change"} for host in self.hosts)

    def demand(self) -> None:
        """Raise FoundError that names each host that is not as it should be, and why."""
        bad = [host for host in self.hosts if not host.good and host.state != "untouched"]
        if bad:
            lines = [f"{host.name}: {host.state} in phase {host.phase}: {host.message}" for host in bad]
            untouched = [host.name for host in self.hosts if host.state == "untouched"]
            lines += [f"Not touched: {', '.join(untouched)}"] if untouched else []
            raise FoundError("\n".join(lines))


def deploy(
    bundle: Path,
    *,
    check: bool = False,
    limit: str | None = None,
    rollback: bool = False,
    secrets: Path,
    trusted: Path | None = None,
    prefix: Sequence[str] = (),
    ssh_config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    output: TextIO | None = None,
) -> Outcome:
    """Apply `bundle`.

    `trusted`: folder of the authority that hosts believe (default: `authority` below `secrets`). `prefix` is put before
    ansible-playbook. `environment` is added to ours: what `env:` references of secrets name.
    `output` gets the lines for people (default: stdout).
    """
    bundle = bundle.resolve()
    hosts = _hosts(bundle, limit)
    variables: dict[str, Any] = {"restante_secrets": str(secrets.resolve()), "restante_rollback": rollback}
    settings = dict(environment or {})
    if ssh_config:
        variables["ansible_ssh_common_args"] = f"-F {shlex.quote(str(ssh_config))}"
        # Ansible's own control sockets are found by address, and two labs may have the same: only the file's are used.
        settings["ANSIBLE_SSH_ARGS"] = ""
    if not (check or rollback):
        variables["restante_wheelhouse"] = str(wheelhouse.prepare(bundle))
    argv = [*prefix, str(_program()), "--inventory", str(bundle / "inventory.yml"), str(bundle / "site.yml")]
    argv += [*(["--check", "--diff"] if check else []), *(["--limit", ",".join(hosts)] if limit else [])]
    start = time.monotonic()
    # What goes back is whole on its host.
    named = [] if rollback else hosts
    with _authority(bundle, named, trusted or secrets / "authority", check=check, output=output) as folder:
        variables["restante_authority"] = str(folder)
        found = _play(bundle, [*argv, "--extra-vars", json.dumps(variables)], settings, len(hosts), output)
    return Outcome(tuple(_outcome(name, entry) for name, entry in sorted(found.items())), time.monotonic() - start)


@contextlib.contextmanager
def _authority(
    bundle: Path, hosts: Sequence[str], folder: Path, *, check: bool, output: TextIO | None
) -> Iterator[Path]:
    """The authority's folder, with an issuer for each of the hosts. With `check` a copy of it: nothing is changed here either."""
    wanted = json.loads((bundle / "plan.json").read_text())["authority"]
    members = [name for name, each in wanted.items() if "etcd" in each["users"]] if hosts else []
    names = {name: wanted[name]["names"] for name in dict.fromkeys((*hosts, *members)) if name in wanted}
    with contextlib.ExitStack() as stack:
        folder = folder.resolve()
        if check and names:
            copy = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restante-authority-")))
            folder = shutil.copytree(folder, copy, dirs_exist_ok=True) if folder.exists() else copy
        for line in authority.ensure(folder, names) if wanted and hosts else ():
            if not check:
                print(line, file=output)
        if members:
            authority.gather(folder, members)
        yield folder


def _play(
    bundle: Path, argv: Sequence[str], settings: Mapping[str, str], hosts: int, output: TextIO | None
) -> Mapping[str, Any]:
    """What the playbook found on each host (callback_plugins/restante.py)."""
    with tempfile.TemporaryDirectory(prefix="restante-deploy-") as folder:
        summary = Path(folder) / "summary.json"
        environment = {**_environment(bundle, hosts, summary), **settings}
        done = subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, stdout=output, check=False)
        found: Mapping[str, Any] = json.loads(summary.read_text()) if summary.exists() else {}
    if not found:
        raise FoundError(f"ansible-playbook ended with {done.returncode} and reached no host; what it said is above")
    return found


def _hosts(bundle: Path, limit: str | None) -> list[str]:
    there = sorted(path.parent.name for path in bundle.glob("hosts/*/manifest.json"))
    if not there:
        raise InputError(f"{bundle} holds no host: 'restante render' writes a bundle")
    wanted = limit.split(",") if limit else there
    if unknown := sorted(set(wanted) - set(there)):
        raise InputError(f"--limit names {', '.join(unknown)}, but the bundle has only {', '.join(there)}")
    return wanted


def _program() -> Path:
    """The ansible-playbook of this very environment: another one may be too old, or on another python."""
    program = Path(sys.executable).parent / "ansible-playbook"
    if not program.exists():
        raise InputError(f"{program} is missing: install the kit with its dependencies, pip install 'restante[kit]'")
    return program


def _environment(bundle: Path, hosts: int, summary: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "ANSIBLE_STDOUT_CALLBACK": "restante",
        "ANSIBLE_CALLBACK_PLUGINS": str(bundle / "roles" / "restante" / "callback_plugins"),
        "ANSIBLE_FORKS": str(hosts),
        "PYTHONDONTWRITEBYTECODE": "1",
        "RESTANTE_SUMMARY": str(summary),
    }


def _outcome(name: str, entry: dict[str, Any]) -> HostOutcome:
    return HostOutcome(name=name, **entry)
