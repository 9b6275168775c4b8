"""The keeper of leases goes on, whatever a request brought."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from restante.client.errors import RefusedError, UnavailableError
from restante.client.figures import Figures
from restante.client.found import Found
from restante.client.hands import Hands
from restante.client.settings import Settings
from restante.client.testing import FakePostOffice


@pytest.mark.parametrize(
    "error", [UnavailableError("away"), RefusedError(400, "no", "refused"), KeyError("an answer of another kind")]
)
def test_a_lease_is_extended_after_a_request_that_failed(error: Exception) -> None:
    office, tries, extended = FakePostOffice(), [], threading.Event()
    office.deliver(subject="held")

    def call(method: str, path: str, body: Any = None, **more: Any) -> Any:
        if path.endswith("/extend"):
            tries.append(path)
            if len(tries) == 1:
                raise error
            extended.set()
        return office.call(method, path, body, **more)

    figures = Figures()
    hands = Hands(call, Settings("http://fake", office.inbox, "fake", lease_s=0.2), figures, Found(figures))
    hands.start()
    (delivery,), _ = hands.receive(1, 0, "attempt")
    assert extended.wait(10)
    delivery.ack()
    hands.stop()
    assert office.handled == ["held"]
