"""nginx as the kit renders it for examples/single-host.yml. Only folders differ, and ports where a test shares the machine's network."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

GOLDEN = Path(__file__).parents[1] / "golden/single-host/hosts/solo/etc/nginx"
DOMAIN = "agents.example.org"
DRAIN_S = 30  # of the rendered worker_shutdown_timeout


class Edge:
    """`space`: a command that runs nginx elsewhere. `changes`: texts of the rendered files that cannot stay here."""

    def __init__(self, folder: Path, space: Sequence[str] = (), changes: Mapping[str, str] | None = None) -> None:
        self._folder, self.trusted = folder, folder / "trusted.pem"
        self._argv = [*space, "nginx", "-e", str(folder / "error.log"), "-c", str(folder / "nginx/nginx.conf")]
        moved = {
            "/etc/nginx/restante": f"{folder}/nginx/restante", "/etc/nginx/conf.d": f"{folder}/none",
            "/etc/restante/tls": str(folder), "/var/log/nginx": str(folder), "/run/nginx.pid": f"{folder}/nginx.pid",
        }  # fmt: skip
        for source in (each for each in GOLDEN.rglob("*") if each.is_file()):
            text = source.read_text()
            for old, new in {**moved, **(changes or {})}.items():
                text = text.replace(old, new)
            target = folder / "nginx" / source.relative_to(GOLDEN)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)

    def certify(self, subject: str) -> str:
        """A certificate that is its own authority, for the next start or reload; clients find it in `trusted`. Its PEM."""
        certificate, key = self._folder / "certificate.pem", self._folder / "key.pem"
        made = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        named = ("-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{DOMAIN}")
        argv = ["openssl", "req", "-x509", *made, *named, "-out", str(certificate), "-keyout", str(key)]
        subprocess.run(argv, check=True, capture_output=True, timeout=30)
        (self._folder / "served.pem").write_text(key.read_text() + certificate.read_text())
        with self.trusted.open("a") as file:
            file.write(certificate.read_text())
        return certificate.read_text()

    def start(self) -> None:
        """Returns when it listens."""
        done = subprocess.run(self._argv, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr

    def reload(self) -> None:
        subprocess.run([*self._argv, "-s", "reload"], check=True, capture_output=True, timeout=30)

    def stop(self) -> None:
        """Returns when it has ended, and its log is whole."""
        master = os.pidfd_open(self._master())
        subprocess.run([*self._argv, "-s", "stop"], check=True, capture_output=True, timeout=30)
        assert select.select([master], [], [], 30)[0], "nginx did not stop"
        os.close(master)

    def kill(self) -> None:
        """The master and its workers, as systemd does when the master is gone."""
        os.killpg(self._master(), signal.SIGKILL)

    def _master(self) -> int:
        return int((self._folder / "nginx.pid").read_text())
