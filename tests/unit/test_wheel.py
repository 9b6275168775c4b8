"""What is published is what works: the wheel, installed into an empty environment, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*argv: object, cwd: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run([str(word) for word in argv], cwd=cwd, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    venv.create(tmp_path / "venv", with_pip=True)
    return tmp_path / "venv/bin"


def test_the_base_is_the_sdk_and_the_verbs_of_a_running_post_office(
    wheel: Path, environment: Path, tmp_path: Path
) -> None:
    run(environment / "pip", "install", "--quiet", wheel, cwd=tmp_path)
    listed = run(environment / "pip", "list", "--format=freeze", cwd=tmp_path)
    assert {line.partition("==")[0] for line in listed.split()} - {"pip", "setuptools"} == {
        "restante", "click", "urllib3", "websockets"
    }  # fmt: skip
    assert (
        run(environment / "python", "-c", "from restante import Mailbox; print(Mailbox.__name__)", cwd=tmp_path)
        == "Mailbox\n"
    )
    assert "--seen" in run(environment / "restante", "agent", "run", "--help", cwd=tmp_path)
    done = subprocess.run([environment / "restante", "validate", "x"], capture_output=True, text=True, cwd=tmp_path)
    sentence = (
        "restante validate needs yaml, which is not installed; install the kit: pip install 'restante[kit,server]'\n"
    )
    assert (done.returncode, done.stderr) == (2, sentence)


def test_the_kit_renders_from_an_empty_environment(wheel: Path, environment: Path, tmp_path: Path) -> None:
    pinned = ROOT / "requirements/kit.txt"
    run(environment / "pip", "install", "--quiet", "--require-hashes", "-r", pinned, cwd=tmp_path)
    run(environment / "pip", "install", "--quiet", "--no-deps", wheel, cwd=tmp_path)
    run(environment / "restante", "init", "ops", cwd=tmp_path)
    run(environment / "restante", "render", "ops/restante.yml", "--out", "out", cwd=tmp_path)
    assert (tmp_path / "out/hosts/front/etc/nginx/nginx.conf").is_file()
    assert (tmp_path / "out/roles/restante/tasks/apply.yml").is_file()
    assert (tmp_path / "out/checks/collector.py").is_file()
