"""What real paths do to an agent, in network namespaces, with the timing that is shipped: 15 s, 5 s, two misses."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab
SCENARIO = Path(__file__).with_name("path_scenario.py")
PRIVATE = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")
SILENT = ("nat-silent", "nat-reset", "silence", "one-way-up", "one-way-down", "office-stopped")
LOUD = ("office-killed",)
WORST_S = 36.0  # 35 s, and a second for a loaded machine's timers
CAUGHT_UP_S = 1.0


@pytest.fixture(scope="module")
def seen() -> dict[str, Future[dict[str, Any]]]:
    """All at once: each waits for most of its time."""
    pool = ThreadPoolExecutor(len(SILENT) + len(LOUD))
    return {fault: pool.submit(play, fault) for fault in (*SILENT, *LOUD)}


def play(fault: str) -> dict[str, Any]:
    done = subprocess.run(
        [*PRIVATE, sys.executable, str(SCENARIO), fault], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, f"{fault}: {done.stdout}{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    print(fault, found)
    return found


@pytest.mark.parametrize("fault", SILENT)
def test_a_silent_path_is_known_within_the_bound_and_nothing_is_lost(
    seen: dict[str, Future[dict[str, Any]]], fault: str
) -> None:
    found = seen[fault].result()
    assert found["causes"] == {"silent": 1}
    assert found["zombie_s"] < WORST_S
    if not fault.startswith("nat-"):  # a router forgets at a time of its own
        assert found["detected_s"] < WORST_S
    assert found["caught_up_s"] < CAUGHT_UP_S
    assert found["attempts"] == 1


@pytest.mark.parametrize("fault", LOUD)
def test_a_loud_end_is_known_at_once(seen: dict[str, Future[dict[str, Any]]], fault: str) -> None:
    found = seen[fault].result()
    assert found["detected_s"] < 1
    assert found["caught_up_s"] < CAUGHT_UP_S
