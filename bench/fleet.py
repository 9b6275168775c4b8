"""A spec of 1,000 hosts: checked and rendered, and rendered against ansible's own template module."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

from bench.measure import line, median_seconds

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/unit"))

from specs import NOW, many_hosts

from restante.plan.build import Plan, build
from restante.plan.facts import Facts
from restante.render.bundle import render_bundle
from restante.render.write import write
from restante.spec.load import parse

HOSTS = 1000
FILES_FOR_ANSIBLE = 20


def check(text: str) -> Plan:
    return build(parse(text, "spec.yml", Path()), Facts(NOW))


def ansible_seconds_per_file(bundle: dict[str, bytes], folder: Path) -> float:
    """ansible.builtin.template for the same files, one task with a loop, on the local connection."""
    sources = islice(
        (content for path, content in bundle.items() if "/etc/" in path and b"{{" not in content), FILES_FOR_ANSIBLE
    )
    for index, content in enumerate(sources):
        (folder / f"{index}.j2").write_bytes(content)
    task = {"ansible.builtin.template": {"src": f"{folder}/{{{{ item }}}}.j2", "dest": f"{folder}/{{{{ item }}}}"}}
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False}]
    empty, full = folder / "empty.json", folder / "full.json"
    empty.write_text(json.dumps([{**play[0], "tasks": []}]))
    full.write_text(json.dumps([{**play[0], "tasks": [{**task, "loop": list(range(FILES_FOR_ANSIBLE))}]}]))

    def run(playbook: Path) -> None:
        command = [
            str(Path(sys.executable).with_name("ansible-playbook")),
            "-i",
            "localhost,",
            "-e",
            f"ansible_python_interpreter={sys.executable}",
            str(playbook),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"ansible-playbook failed: {done.stdout}{done.stderr}")

    return (median_seconds(lambda: run(full)) - median_seconds(lambda: run(empty))) / FILES_FOR_ANSIBLE


def main() -> None:
    text = json.dumps(many_hosts(HOSTS))
    plan = check(text)
    bundle = render_bundle(plan)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as scratch:
        out = Path(scratch) / "out"
        seconds = median_seconds(lambda: write(render_bundle(check(text)), out))
        checked = median_seconds(lambda: check(text))
        line(f"check of a {HOSTS}-host spec", f"{checked:.2f} s", "1 s", checked <= 1)
        line(f"check, render and write of {len(bundle)} files", f"{seconds:.2f} s", "2 s", seconds <= 2)
        theirs = ansible_seconds_per_file(bundle, Path(scratch))
        ours = seconds / len(bundle)
        ratio = theirs / ours
        found = f"{ratio:.0f} x"
        line(
            f"a file: {ours * 1e6:.0f} us, ansible's template module {theirs * 1e3:.0f} ms",
            found,
            "200 x",
            ratio >= 200,
        )
