"""What a user's own test looks like."""

from __future__ import annotations

import time

from restante.client.testing import FakePostOffice


def test_an_agent_is_tried_without_a_network_and_without_waiting() -> None:
    office = FakePostOffice()
    office.deliver(subject="Invoice", text="42")
    office.deliver(subject="Poison")
    office.deliver(subject="Flaky")
    began, attempts = time.monotonic(), []
    for delivery in office.mailbox(nack_delay_s=600).consume():
        with delivery:
            attempts.append((delivery.message.subject, delivery.attempt))
            if delivery.message.subject == "Poison":
                raise ValueError("never")
            if delivery.message.subject == "Flaky" and delivery.attempt == 1:
                raise ValueError("not yet")
    assert office.handled == ["Invoice", "Flaky"]
    assert office.dead == [("Poison", "ValueError: never")]
    assert office.waiting == []
    assert attempts.count(("Flaky", 2)) == 1
    assert office.now > 1_700_000_000 + 600 * 40, "four delays of 600 s and more went by"
    assert time.monotonic() - began < 5


def test_wait_for_and_listing() -> None:
    office = FakePostOffice()
    box = office.mailbox()
    mark = box.head()
    office.deliver(subject="Your code", text="1234", from_="login@example.net")
    assert box.wait_for(from_="login@", since=mark).text == "1234"
    assert [message.subject for message in box.messages()] == ["Your code"]
