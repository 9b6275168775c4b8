"""What real paths do to an agent, in network namespaces, with the timing that is shipped: 15 s, 5 s, two misses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.lab
SCENARIO = Path(__file__).parent / "paths/scenario.py"
PRIVATE = ("unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child=SIGKILL")
SILENT = ("nat-silent", "nat-reset", "silence", "one-way-up", "one-way-down", "office-stopped", "name-moved")
LOUD = ("office-killed", "reset")
OTHERS = ("slow-and-dead", "slow-and-alive", "agent-stopped", "agent-stopped-for-long")
PROXY = ("proxy-renewed", "proxy-reloaded", "proxy-killed")
WORST_S = 36.0  # 35 s, and a second for a loaded machine's timers
CAUGHT_UP_S = 1.0
RECONNECT_S = 2.3  # the first delay of 1 to 1.3 s, and a second as above
SLOWLY_S = 30.0  # 4 s to connect in vain, then 6 s for each of a connection, an answer, and what was under way before
DRAIN_S = 30.0  # of examples/single-host.yml, as it is rendered
STARTING = threading.Semaphore(2)  # so that what is measured in the first seconds has a core to run on
Found = dict[str, Any]
needs_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="no nginx is installed here")


@pytest.fixture(scope="module")
def seen() -> dict[str, Future[Found]]:
    """All at once: each waits for most of its time. The longest are begun first."""
    faults = (*OTHERS, *SILENT, *(PROXY if shutil.which("nginx") else ()), *LOUD)
    pool = ThreadPoolExecutor(len(faults))
    return {fault: pool.submit(play, fault) for fault in faults}


def play(fault: str) -> Found:
    with STARTING:
        argv = [*PRIVATE, sys.executable, str(SCENARIO), fault]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout
        begun = process.stdout.readline()
    said, errors = process.communicate(timeout=180)
    assert process.returncode == 0, f"{fault}: {begun}{said}{errors}"
    found: Found = json.loads(said)
    print(fault, found)
    assert (found["lost"], found["repeated"], found["attempts"]) == (0, 0, 1), fault
    return found


@pytest.mark.parametrize("fault", SILENT)
def test_a_silent_path_is_known_within_the_bound_and_nothing_is_lost(
    seen: dict[str, Future[Found]], fault: str
) -> None:
    found = seen[fault].result()
    assert found["causes"] == {"silent": 1}
    assert found["zombie_s"] < WORST_S
    if not fault.startswith("nat-"):  # a router forgets at a time of its own
        assert found["detected_s"] < WORST_S
    assert found["caught_up_s"] < CAUGHT_UP_S


@pytest.mark.parametrize("fault", [*LOUD, pytest.param("proxy-killed", marks=needs_nginx)])
def test_a_loud_end_is_known_at_once(seen: dict[str, Future[Found]], fault: str) -> None:
    found = seen[fault].result()
    assert found["detected_s"] < 1
    assert found["caught_up_s"] < CAUGHT_UP_S
    assert found["causes"]["closed 1006"] == 1


def test_answers_that_come_too_late_are_as_good_as_none_and_mail_comes_on_that_path_still(
    seen: dict[str, Future[Found]],
) -> None:
    found = seen["slow-and-dead"].result()
    assert found["causes"]["silent"] == 1
    assert found["detected_s"] < WORST_S
    assert max(found["delivered_slowly_s"]) < SLOWLY_S
    assert found["caught_up_s"] < CAUGHT_UP_S


def test_a_path_that_is_slow_within_the_limit_is_kept(seen: dict[str, Future[Found]]) -> None:
    found = seen["slow-and-alive"].result()
    assert found["causes"] == {}
    assert found["ups"] == 1
    assert found["watched_s"] > WORST_S
    assert found["rtt_s"] == pytest.approx(4, abs=0.5)


@needs_nginx
def test_a_reload_keeps_the_socket_for_the_drain_and_blinds_for_one_reconnect(seen: dict[str, Future[Found]]) -> None:
    found = seen["proxy-reloaded"].result()
    assert found["causes"] == {"closed 1006": 1}
    assert found["drained_s"] == pytest.approx(DRAIN_S, abs=1)
    assert found["told_s"] < CAUGHT_UP_S, "the old worker carries signals to its end"
    assert found["blind_s"] < RECONNECT_S
    assert found["caught_up_s"] < CAUGHT_UP_S


@needs_nginx
def test_another_certificate_and_a_word_from_the_post_office_blind_for_no_time(seen: dict[str, Future[Found]]) -> None:
    found = seen["proxy-renewed"].result()
    assert found["causes"] == {"rotated": 1}
    assert found["ups"] == 1, "the line was up all the time"
    assert found["told_s"] < CAUGHT_UP_S


def test_an_agent_that_stood_still_says_lag_and_not_loss(seen: dict[str, Future[Found]]) -> None:
    found = seen["agent-stopped"].result()
    assert found["causes"] == {}
    assert found["lag_s"] > 30, "40 s, less what the loop would have waited anyway"
    assert found["caught_up_s"] < CAUGHT_UP_S


def test_an_agent_that_stood_still_for_longer_than_the_post_office_waits_reconnects(
    seen: dict[str, Future[Found]],
) -> None:
    found = seen["agent-stopped-for-long"].result()
    assert found["causes"] == {"closed 4001": 1}
    assert found["lag_s"] > 45
    assert found["woken_to_beat_s"] < RECONNECT_S
    assert found["caught_up_s"] < CAUGHT_UP_S
