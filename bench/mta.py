"""A Postfix of the benchmark's own, with the settings that the kit renders; the recipient says where it delivers to.

It logs to a pipe, and what is counted are its own lines about mails that left its queue.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import processes
from bench.lmtp import SENDER
from bench.mails import SIZE
from bench.processes import Log, free_port, process, run
from bench.rendered import rendered
from restante.server.recipients import Recipients

HOST = "post-1"
QUEUED = re.compile(r"/qmgr\[\d+\]: \w+: removed$")
TROUBLE = re.compile(r"status=(deferred|bounced)|(fatal|panic|error): ")


@dataclass(frozen=True)
class Mta:
    port: int
    log: Log

    def flood(self, recipient: str, mails: int, sessions: int = 20) -> float:
        """Mails a second, from the first connection until the queue is empty."""
        argv = [
            "smtp-source", "-d", "-s", str(sessions), "-l", str(SIZE), "-m", str(mails), "-f", SENDER, "-t", recipient,
            f"127.0.0.1:{self.port}",
        ]  # fmt: skip
        start = time.perf_counter()
        with process(argv) as source:
            self._gone(mails)
            seconds = time.perf_counter() - start
            source.wait()
        return mails / seconds

    def _gone(self, mails: int) -> None:
        for text in self.log:
            if TROUBLE.search(text):
                raise SystemExit(f"Postfix says: {text}")
            mails -= bool(QUEUED.search(text))
            if not mails:
                return


def lacking() -> str:
    missing = processes.lacking(postfix="postfix", smtp_source="postfix")
    maps = "" if missing else subprocess.run(["postconf", "-m"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return missing or ("" if "sqlite" in maps.split() else "the package postfix-sqlite")


@contextmanager
def postfix(folder: Path, routes: dict[str, str]) -> Iterator[Mta]:
    """`routes`: recipient -> transport and next hop."""
    port = free_port()
    _write(folder, routes, port)
    run(["postfix", "-c", str(folder), "check"])
    # Not by `postfix start-fg`, whose master is nobody's child.
    argv = [f"{_setting(folder, 'daemon_directory')}/master", "-d", "-c", str(folder)]
    with process(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as master:
        log = Log(master.stdout)
        log.until("daemon started")
        yield Mta(port, log)


def _setting(folder: Path, name: str) -> str:
    argv = ["postconf", "-c", str(folder), "-h", name]
    return subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _write(folder: Path, routes: dict[str, str], port: int) -> None:
    maps = folder / "restante"
    maps.mkdir(parents=True)
    (folder / "queue").mkdir()
    Recipients(maps / "map.sqlite").update([(address, 0, None) for address in routes], 1, full=False)
    for name in ("recipients.cf", "replies.cf"):
        text = rendered(HOST, f"/etc/postfix/restante/{name}")
        (maps / name).write_text(re.sub(r"(?m)^dbpath = .*", f"dbpath = {maps / 'map.sqlite'}", text))
    (folder / "main.cf").write_text(rendered(HOST, "/etc/postfix/main.cf").replace("/etc/postfix/", f"{folder}/"))
    services = rendered(HOST, "/etc/postfix/master.cf")
    (folder / "master.cf").write_text(re.sub(r"(?m)^smtp +inet", f"127.0.0.1:{port} inet", services))
    hops = "".join(f"{{ {address} = {route} }} " for address, route in routes.items())
    own = {
        "queue_directory": folder / "queue", "data_directory": folder / "data", "maillog_file": "/dev/stdout",
        "transport_maps": f"inline:{{ {hops}}}", "inet_interfaces": "loopback-only", "inet_protocols": "ipv4",
        # No certificate is there, and the client here asks for none.
        "smtpd_tls_security_level": "none", "smtpd_tls_chain_files": "", "smtpd_tls_session_cache_database": "",
    }  # fmt: skip
    run(["postconf", "-c", str(folder), "-e", *(f"{name}={setting}" for name, setting in own.items())])
