"""The checks that a bundle carries: `pytest DIR/checks` needs pytest, pytest-testinfra and websockets, nothing of ours.

One collector per host brings all facts over one ssh connection; the tests assert on what it brought. Each check has an
id, the cause (1-7) it answers, and the spec key that steers it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import testinfra
from bundle import Bundle, Expected, write_ssh_config

HERE = Path(__file__).parent
JOURNAL_LINES = 12


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("restante")
    group.addoption("--restante-ssh-config", metavar="FILE", help="ssh configuration to use instead of the inventory's")
    group.addoption("--restante-ca", metavar="FILE", help="authority to trust instead of the system's")
    group.addoption("--restante-report", metavar="FILE", help="write one JSON object per check and host")
    group.addoption("--restante-only", metavar="ID", action="append", default=[], help="run this check only")
    group.addoption("--restante-host", metavar="HOST", action="append", default=[], help="check this host only")
    group.addoption("--quick", action="store_true", help="leave out what waits longer than a minute")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "check(id, cause, key, component, kind, slow): one check, on hosts with the component and for routes of the kind",
    )
    config.stash[ROWS] = []
    config.stash[BUNDLE] = Bundle.read(HERE.parent)


ROWS = pytest.StashKey[list[dict[str, Any]]]()
BUNDLE = pytest.StashKey[Bundle]()
LIFE = pytest.StashKey["Life"]()


class Life:
    """What the collectors brought, by host; a host that could not be asked has a sentence instead."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self.bundle = config.stash[BUNDLE]
        given = config.getoption("--restante-ssh-config")
        self.ssh_config = given or str(write_ssh_config(self.bundle, folder))
        names = config.getoption("--restante-host") or list(self.bundle.hosts)
        with ThreadPoolExecutor(max_workers=8) as pool:
            self.facts = dict(zip(names, pool.map(self._collect, names), strict=True))

    def host(self, name: str) -> Any:
        """testinfra's host, for what must be asked at its own time."""
        variables = self.bundle.inventory[name]
        return testinfra.get_host(f"ssh://{name}", ssh_config=self.ssh_config, sudo=variables["ansible_become"])

    def _collect(self, name: str) -> dict[str, Any] | str:
        script = (HERE / "collector.py").read_text()
        command = shlex.join(["python3", "-c", script, json.dumps(self.bundle.question(name))])
        try:
            done = self.host(name).run(command)
        except RuntimeError as error:
            return f"{name} could not be reached: {error}"
        if done.rc:
            return f"{name} could not be asked: {done.stderr.strip() or done.stdout.strip()}"
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts


@pytest.fixture(scope="session")
def life(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Life:
    made = Life(request.config, tmp_path_factory.mktemp("restante"))
    request.config.stash[LIFE] = made
    return made


@pytest.fixture(scope="session")
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return request.config.stash[BUNDLE]


@pytest.fixture
def facts(life: Life, host_name: str) -> dict[str, Any]:
    """What the collector brought from this host."""
    found: dict[str, Any] | str = life.facts[host_name]
    if isinstance(found, str):
        raise Expected("a host that answers", found)
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    mark = metafunc.definition.get_closest_marker("check")
    if mark and "host_name" in metafunc.fixturenames:
        known = metafunc.config.stash[BUNDLE]
        wanted = metafunc.config.getoption("--restante-host")
        names = [name for name in known.with_component(mark.kwargs["component"]) if not wanted or name in wanted]
        metafunc.parametrize("host_name", names, ids=names)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    only, quick = config.getoption("--restante-only"), config.getoption("--quick")
    known = {_mark(item)["id"] for item in items}
    kinds = config.stash[BUNDLE].kinds()
    if unknown := set(only) - known:
        raise pytest.UsageError(f"there is no check {', '.join(sorted(unknown))}; accepted: {', '.join(sorted(known))}")
    left_out = [
        item
        for item in items
        if not isinstance(item.callspec.params["host_name"], str)  # type: ignore[attr-defined] # no host has the component
        or (only and _mark(item)["id"] not in only)
        or (quick and _mark(item).get("slow"))
        or _mark(item).get("kind", "") not in {"", *kinds}
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted((item for item in items if item not in left_out), key=lambda item: bool(_mark(item).get("slow")))


def _mark(item: pytest.Item) -> dict[str, Any]:
    mark = item.get_closest_marker("check")
    assert mark, f"{item.nodeid} has no check mark"
    return dict(mark.kwargs)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    outcome: Any = yield
    report: pytest.TestReport = outcome.get_result()
    if call.when != "call" and report.passed:
        return
    mark, name = _mark(item), item.callspec.params["host_name"]  # type: ignore[attr-defined]
    row = {**mark, "host": name, "outcome": report.outcome, "seconds": round(call.duration, 3)}
    if report.failed and call.excinfo:
        error = call.excinfo.value
        row |= {
            "expected": getattr(error, "expected", "a check that runs"),
            "found": getattr(error, "found", repr(error)),
        }
        _waive(item, report, row)
        if report.failed:
            row["journal"] = _journal(item, mark["component"], name)
            report.longrepr = (
                f"{mark['id']} on {name}: expected {row['expected']}; found {row['found']}\n{row['journal']}"
            )
    item.config.stash[ROWS].append(row)


def _waive(item: pytest.Item, report: pytest.TestReport, row: dict[str, Any]) -> None:
    for waiver in item.config.stash[BUNDLE].plan["waivers"]:
        if waiver["check"] == row["id"] and waiver["host"] in {None, row["host"]}:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), 0, f"waived: {waiver['because']}")
            row |= {"outcome": "waived", "because": waiver["because"]}


def _journal(item: pytest.Item, component: str, name: str) -> str:
    made = item.config.stash.get(LIFE, None)
    units = item.config.stash[BUNDLE].units(name, component)
    if not made or not units or isinstance(made.facts.get(name), str):
        return ""
    flags = " ".join(f"-u {shlex.quote(unit)}" for unit in units)
    return str(made.host(name).run(f"journalctl --no-pager -o short-iso -n {JOURNAL_LINES} {flags}").stdout)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if report := session.config.getoption("--restante-report"):
        Path(report).write_text(json.dumps(session.config.stash[ROWS], indent=2))
