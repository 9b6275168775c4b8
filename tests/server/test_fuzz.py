"""Whatever the OpenAPI document allows, and much that it does not: never a 5xx, always our shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from office import INBOX, Office, serving, settings

schemathesis = pytest.importorskip("schemathesis")
SCHEMA = Path(__file__).parents[2] / "docs/reference/openapi.json"
api = schemathesis.openapi.from_path(SCHEMA).exclude(path_regex="stream$|receive$")  # those wait for mail, by design
QUICK = examples(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with serving(settings(tmp_path_factory.mktemp("fuzz"))) as running:
        yield running


@api.parametrize()
@QUICK
def test_no_request_makes_the_server_fail(case: object, office: Office) -> None:
    response = case.call(
        base_url=f"http://127.0.0.1:{office.http_port}", headers={"Authorization": f"Bearer {office.token}"}
    )  # type: ignore[attr-defined]
    assert response.status_code < 500, response.text
    if response.status_code >= 400 and response.content:
        assert set(response.json()["error"]) == {"code", "message", "request_id", "details"}


LEAF = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
JSON = st.recursive(LEAF, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.mark.parametrize("verb", ["receive", "ack", "nack", "extend", "consumers", "dead-letters/redrive"])
@examples(parent=QUICK, max_examples=60)
@given(body=JSON | st.fixed_dictionaries({}, optional={
    "receipt_handles": st.lists(st.text()), "max_messages": st.integers(), "wait_seconds": st.sampled_from([0, -1, "x"]),
    "visibility_timeout": st.floats() | st.integers(), "consumer": st.text(), "attempt_id": st.text(), "ack_batch": st.text(),
    "cursor": st.text(), "name": st.text(), "start": st.text(), "ids": st.lists(st.text()), "reason": st.text(),
}))  # fmt: skip
def test_no_body_makes_a_delivery_verb_fail(verb: str, body: object, office: Office) -> None:
    answered = office.call("POST", f"/v1/inboxes/{INBOX}/{verb}", json.dumps(body).encode())
    assert answered.status < 500, answered.raw
