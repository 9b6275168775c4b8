"""A folder on a disk, and programs that run in it and are stopped by their pid, after failure too."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

STOP_S = 20


@contextmanager
def disk() -> Iterator[Path]:
    """A folder that other users may enter, as Postfix's and Dovecot's own do, on no file system of memory."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that everything below is unwound
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="restante-bench-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def process(argv: list[str], stop: signal.Signals = signal.SIGTERM, **options: Any) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen(argv, text=True, start_new_session=True, **options)
    try:
        yield running
    finally:
        running.send_signal(stop)
        try:
            running.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)


class Log:
    """What a program says, read all the time: none that logs a lot waits for a full pipe. The end of it is None."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, args=[stream], daemon=True).start()

    def _read(self, stream: IO[str]) -> None:
        for text in stream:
            self._lines.put(text)
        self._lines.put(None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines.get, None)

    def until(self, phrase: str) -> None:
        """It is ready when it says so."""
        said = ""
        for text in self:
            said += text
            if phrase in text:
                return
        raise SystemExit(f"it ended without {phrase!r}: {said}")


def run(argv: list[str], **options: Any) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def lacking(**commands: str) -> str:
    """A sentence about what is missing on this machine, or nothing. `commands`: a command and the package that brings it."""
    missing = sorted({package for command, package in commands.items() if not shutil.which(command.replace("_", "-"))})
    parts = [f"the packages {', '.join(missing)}"] if missing else []
    return " and ".join([*(["root"] if os.geteuid() else []), *parts])
