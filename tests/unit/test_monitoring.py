"""Rules, dashboard, runbooks and metrics name each other rightly. promtool itself runs in `make test-lab`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from restante.server.metrics import Metrics

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "examples" / "monitoring"
RULES = yaml.safe_load((MONITORING / "restante.rules.yml").read_text())["groups"][0]["rules"]
SUFFIXES = ("_total", "_bucket", "_count", "_sum")


def known() -> set[str]:
    names = {family.name for family in Metrics().registry.collect()}
    return names | {f"{name}{suffix}" for name in names for suffix in SUFFIXES}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_reads_a_metric_that_exists_and_has_a_runbook(rule: dict[str, object]) -> None:
    assert set(re.findall(r"restante_\w+", str(rule["expr"]))) <= known()
    page = ROOT / str(rule["annotations"]["runbook"])  # type: ignore[index]
    assert str(rule["alert"]) in page.read_text()


def test_every_panel_reads_a_metric_that_exists() -> None:
    board = json.loads((MONITORING / "dashboard.json").read_text())
    for panel in board["panels"]:
        assert set(re.findall(r"restante_\w+", panel["targets"][0]["expr"])) <= known(), panel["title"]


@pytest.fixture(scope="module")
def promtool(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Debian's, unpacked beside the system: the package would start a server."""
    if found := shutil.which("promtool"):
        return found
    folder = tmp_path_factory.mktemp("promtool")
    folder.chmod(0o777)  # apt downloads as a user of its own
    subprocess.run(["apt-get", "-qq", "download", "prometheus"], cwd=folder, check=True)
    subprocess.run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder)], check=True)
    return str(folder / "usr/bin/promtool")


@pytest.mark.lab
def test_promtool_accepts_the_rules_and_their_tests(promtool: str) -> None:
    subprocess.run([promtool, "check", "rules", str(MONITORING / "restante.rules.yml")], check=True)
    subprocess.run([promtool, "test", "rules", str(MONITORING / "restante.rules.test.yml")], check=True)
