"""Deploy and verify of 1, 3 and 6 real hosts, side by side in one run. Needs root."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import line, median_seconds, timed
from restante import resources
from restante.lab.lab import Lab
from restante.lab.machine import lab_directory

SPEC = {
    "restante": 1,
    "domain": "mail.example.org",
    "agents": 100,
    "hosts": {
        f"host-{index}": {
            "ipv4": f"192.0.2.{60 + index}",
            "os": "debian-13" if index % 2 else "debian-12",
            "tiers": ["edge", "app"],
        }
        for index in range(6)
    },
    "edge": {
        "routes": [
            {"path": "/ws", "kind": "websocket", "upstreams": ["unix:/run/backend/http.sock"]},
            {"path": "/", "kind": "http", "upstreams": ["unix:/run/backend/http.sock"]},
        ]
    },
    "services": {
        "backend": {
            "host": [f"host-{index}" for index in range(6)],
            "user": "backend",
            "exec": "/usr/bin/python3 /opt/bench/backend.py /run/backend/http.sock",
            "files": {"/opt/bench/backend.py": "file:backend.py"},
            "listens": ["/run/backend/http.sock"],
            "readiness": "notify",
        }
    },
    "tls": {"lab": True},
}


def restante(*argv: str) -> None:
    done = subprocess.run([sys.executable, "-m", "restante", *argv], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"restante {' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")


@contextmanager
def deployed(spec: Path, text: str) -> Iterator[Lab]:
    spec.write_text(text)
    try:
        restante("lab", "up", str(spec))
        restante("deploy", str(spec), "--lab")
        yield Lab(lab_directory(spec))
    finally:
        restante("lab", "down", str(spec))


def on(lab: Lab, host: str, script: str) -> str:
    done = lab.host(host).exec(["sh", "-c", script])
    if done.returncode:
        raise SystemExit(f"on {host}: {script}\n{done.stderr}")
    return done.stdout.strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        spec = Path(scratch) / "fleet.yml"
        spec.write_text(json.dumps(SPEC))
        shutil.copy(resources.examples() / "backend/backend.py", scratch)
        try:
            restante("lab", "up", str(spec))
            measure(str(spec))
        finally:
            restante("lab", "down", str(spec))


def measure(spec: str) -> None:
    hosts = list(SPEC["hosts"])  # type: ignore[call-overload]
    groups = [("1 host", hosts[:1]), ("2 more hosts", hosts[1:3]), ("3 more hosts", hosts[3:])]
    for name, group in groups:
        with timed() as clock:
            restante("deploy", spec, "--lab", "--limit", ",".join(group))
        print(f"{f'first deploy of {name}, nginx installed':<58} {clock.seconds:>14.1f} s", flush=True)
    seconds = {
        count: median_seconds(lambda count=count: restante("deploy", spec, "--lab", "--limit", ",".join(hosts[:count])))
        for count in (1, 3, 6)
    }
    line("second deploy of 1 host", f"{seconds[1]:.2f} s", "4 s", seconds[1] < 4)
    print(f"{'second deploy of 3 hosts':<58} {seconds[3]:>14.2f} s", flush=True)
    ratio = seconds[6] / seconds[1]
    line(f"second deploy of 6 hosts: {seconds[6]:.2f} s, against 1 host", f"{ratio:.2f} x", "3 x", ratio < 3)
    checked = median_seconds(lambda: restante("verify", spec, "--lab", "--quick"))
    line("verify --quick of 6 hosts", f"{checked:.2f} s", "5 s", checked < 5)
