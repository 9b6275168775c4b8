"""A host as a drill acts on it: at a console of the lab, or over ssh."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from restante.errors import FoundError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SSH_FAILED = 255  # ssh(1), exit status


class Console(Protocol):
    """Where commands run as root."""

    @property
    def name(self) -> str: ...

    def exec(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as subprocess.run
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """Raises FoundError when it does not end in time."""


@dataclass(frozen=True)
class Remote:
    """A host that is reached over ssh. `way` is what runs a command there as root when it is put before it."""

    name: str
    address: str
    way: Sequence[str]

    def command(self, argv: Sequence[str]) -> list[str]:
        """What to run here. sudo and sshd each have a PATH of their own."""
        return [*self.way, shlex.join(["env", f"PATH={PATH}", *argv])]

    def exec(
        self,
        argv: Sequence[str],
        *,
        input: str | None = None,  # noqa: A002 - as subprocess.run
        timeout: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """In a session of its own: a Ctrl-C is for us, and what heals a host must not die of it."""
        try:
            done = subprocess.run(
                self.command(argv), input=input or "", capture_output=True, text=True, check=False, timeout=timeout,
                start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise FoundError(
                f"drill: {self.name}: `{shlex.join(argv)[:200]}` did not end within {timeout:.0f} s"
            ) from None
        if done.returncode == _SSH_FAILED:
            raise FoundError(f"drill: {self.name} could not be reached: {done.stderr.strip() or 'ssh did not say why'}")
        return done


def sh(host: Console, script: str, timeout: float = 120, environment: Mapping[str, str] | None = None) -> str:
    """What a shell on the host says; raises FoundError with its complaint."""
    words = [f"{key}={value}" for key, value in (environment or {}).items()]
    done = host.exec(["env", *words, "sh", "-c", script], timeout=timeout)
    if done.returncode:
        raise FoundError(f"drill: {host.name}: `{script[:200]}` ended with {done.returncode}:\n{done.stderr.strip()}")
    return done.stdout.strip()


def put(host: Console, path: str, text: str) -> None:
    """Write a file, whole or not at all."""
    done = host.exec(
        ["sh", "-c", f"mkdir -p $(dirname {path}) && cat > {path}.new && mv {path}.new {path}"], input=text
    )
    if done.returncode:
        raise FoundError(f"drill: {host.name}: {path} could not be written: {done.stderr.strip()}")


def together(*works: Callable[[], object]) -> None:
    """All at the same time: every side, and every host, meets the same fault at the same moment. All end before an error is raised."""
    with ThreadPoolExecutor(len(works)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()
