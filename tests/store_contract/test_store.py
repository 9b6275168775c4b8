"""What every store does, whichever its engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from scenario import POLICY, Run, mail

from restante.server.mail.scan import scan
from restante.server.store import deliver, webhooks
from restante.server.store.base import (
    Arrival,
    Batch,
    ConflictError,
    Handle,
    HandleResult,
    Inbox,
    InboxDraft,
    NotFoundError,
    Receive,
    Scan,
    Summary,
    TooOldError,
    Verdict,
)
from restante.server.store.retention import Policy
from restante.server.store.store import Store

HOSTILE = Path(__file__).parents[1] / "hostile_mail"
A, B = "a@example.org", "b@example.org"
OK, EXPIRED, UNKNOWN = HandleResult.ok, HandleResult.expired, HandleResult.unknown


def handles(batch: Batch) -> list[Handle]:
    return [Handle(batch.consumer_id, each.summary.seq, each.lease) for each in batch.deliveries]


def seqs(batch: Batch) -> list[int]:
    return [each.summary.seq for each in batch.deliveries]


def later(store: Store, seconds: float) -> None:
    """The store's clock, moved on."""
    store.clock.not_before(store.clock.now() + seconds)


def test_messages_are_numbered_without_holes_in_commit_order(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        seen: list[int] = []
        store.on_heads = lambda heads: seen.append(heads[inbox.id])
        await asyncio.gather(*(store.ingest(mail(A)) for _ in range(200)))
        found = await store.messages(inbox.id, 0, 1000)
        assert [each.seq for each in found] == list(range(1, 201))
        assert seen == sorted(seen)
        assert seen[-1] == 200
        raw = await store.bodies([each.body_id for each in found])
        assert {raw[each.body_id].split(b"\r\n")[0].decode() for each in found} == {
            f"Subject: {each.subject}" for each in found
        }

    run(work)


def test_mail_that_comes_while_its_inbox_is_deleted_is_refused_or_keeps_the_inbox(
    make_store: Callable[..., Store], run: Run
) -> None:
    async def delete(store: Store) -> bool:
        try:
            await store.delete_inbox(B, force=False)
        except ConflictError:
            return False
        return True

    async def work(store: Store, _: Inbox) -> None:
        other = store if store.engine == "sqlite" else make_store()
        await other.start()
        for _ in range(30):
            await store.create_inbox(InboxDraft(B))
            deleted, verdicts = await asyncio.gather(delete(store), other.ingest(mail(B)))
            assert verdicts == [Verdict.unknown_inbox if deleted else Verdict.stored]
            if not deleted:
                await store.delete_inbox(B, force=True)
        if other is not store:
            await other.close()

    run(work)


def test_what_is_known_without_a_read_is_what_a_reader_finds(run: Run) -> None:
    """A signal is made of it."""

    async def work(store: Store, inbox: Inbox) -> None:
        await store.create_inbox(InboxDraft(B))
        told: list[list[Summary]] = []
        store.on_heads = lambda heads: told.append(store.recent.after(inbox.id, heads.get(inbox.id, 0) - 1, 10))
        for _ in range(3):
            await store.ingest(mail(A, B, message_id="<same@example.org>"))
        found = await store.messages(inbox.id, 0, 10)
        assert [each for (each,) in told] == found == store.recent.after(inbox.id, 0, 10)
        assert found[2].duplicate_of == 1

    run(work)


def test_each_recipient_has_its_own_verdict_and_the_body_is_kept_once(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        other, _ = await store.create_inbox(InboxDraft(B))
        verdicts = await store.ingest(mail(A, "nobody@example.org", B.upper()))
        assert verdicts == [Verdict.stored, Verdict.unknown_inbox, Verdict.stored]
        one, two = [await store.message(where.id, 1) for where in (inbox, other)]
        assert one.body_id == two.body_id

    run(work)


def test_two_recipients_of_which_one_is_over_quota(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.create_inbox(InboxDraft(B, quota_bytes=10))
        assert await store.ingest(mail(A, B)) == [Verdict.stored, Verdict.over_quota]

    run(work)


def test_a_retry_of_the_same_hop_is_recognised_even_within_one_batch(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        first = mail(A, hop="mx/4abc")
        assert await store.ingest(first) == [Verdict.stored]
        assert await store.ingest(first) == [Verdict.repeated]
        both = await asyncio.gather(*(store.ingest(mail(A, hop="mx/4def")) for _ in range(2)))
        assert sorted(both) == [[Verdict.repeated], [Verdict.stored]]
        assert (await store.head(inbox.id))[1] == 2

    run(work)


def test_without_a_hop_identity_it_is_stored_and_marked_as_a_repeat(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        for _ in range(2):
            assert await store.ingest(mail(A, message_id="<same@example.net>")) == [Verdict.stored]
        assert [each.duplicate_of for each in await store.messages(inbox.id, 0, 10)] == [None, 1]

    run(work)


def test_what_is_received_is_nobody_elses_until_its_lease_runs_out(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        for _ in range(3):
            await store.ingest(mail(A))
        first = await store.receive(inbox.id, Receive(max_messages=2, lease_s=60))
        assert (seqs(first), first.remaining, first.head) == ([1, 2], 1, 3)
        assert seqs(await store.receive(inbox.id, Receive(max_messages=10, lease_s=600))) == [3]
        nothing = await store.receive(inbox.id, Receive())
        assert (seqs(nothing), nothing.remaining) == ([], 0)
        assert nothing.next_ready_at
        later(store, 61)
        again = await store.receive(inbox.id, Receive())
        assert seqs(again) == [1, 2]
        assert [each.attempt for each in again.deliveries] == [2, 2]
        assert await store.ack(inbox.id, handles(first)) == [EXPIRED, EXPIRED]
        assert await store.ack(inbox.id, handles(again)) == [OK, OK]

    run(work)


def test_a_lease_that_ran_out_may_still_be_acknowledged_while_nobody_else_has_it(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.ingest(mail(A))
        batch = await store.receive(inbox.id, Receive(lease_s=1))
        later(store, 2)
        assert await store.ack(inbox.id, handles(batch)) == [OK]
        assert seqs(await store.receive(inbox.id, Receive())) == []

    run(work)


def test_ack_is_idempotent_and_strangers_handles_are_unknown(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        other, _ = await store.create_inbox(InboxDraft(B))
        await store.ingest(mail(A))
        held = handles(await store.receive(inbox.id, Receive()))
        assert await store.ack(other.id, held) == [UNKNOWN]
        assert await store.ack(inbox.id, [Handle(held[0].consumer_id, 7, 1)]) == [EXPIRED]
        assert await store.ack(inbox.id, [Handle(99, 1, 1)]) == [UNKNOWN]
        assert await store.ack(inbox.id, held + held) == [OK, OK]
        assert await store.ack(inbox.id, held) == [OK]
        assert await store.nack(inbox.id, held, delay_s=0, reason=None, attempts=5, counted=True) == [EXPIRED]

    run(work)


def test_nack_delays_and_after_the_last_attempt_the_message_is_dead_and_can_be_redriven(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.ingest(mail(A))
        for attempt in (1, 2):
            batch = await store.receive(inbox.id, Receive(attempts=2))
            assert batch.deliveries[0].attempt == attempt
            await store.nack(inbox.id, handles(batch), delay_s=30, reason="boom", attempts=2, counted=True)
            assert seqs(await store.receive(inbox.id, Receive(attempts=2))) == []
            later(store, 31)
        assert seqs(await store.receive(inbox.id, Receive(attempts=2))) == []
        dead = await store.dead_letters(inbox.id, 0, 10)
        assert [(each.summary.seq, each.attempts, each.last_error) for each in dead] == [(1, 2, "boom")]
        assert await store.ack(inbox.id, handles(batch)) == [EXPIRED]
        assert await store.redrive(inbox.id, [1], 0, float("inf")) == 1
        again = await store.receive(inbox.id, Receive(attempts=2))
        assert [each.attempt for each in again.deliveries] == [1]
        assert await store.dead_letters(inbox.id, 0, 10) == []

    run(work)


def test_leases_that_run_out_end_as_dead_letters_without_anyone_asking(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.ingest(mail(A))
        for _ in range(3):
            await store.receive(inbox.id, Receive(attempts=3, lease_s=10))
            later(store, 11)
        assert await store.bury_spent(3) == 1
        assert (await store.dead_letters(inbox.id, 0, 10))[0].last_error == "the lease ran out"

    run(work)


def test_a_release_that_is_not_counted_gives_the_attempt_back(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.ingest(mail(A))
        for _ in range(9):
            batch = await store.receive(inbox.id, Receive(attempts=2))
            assert batch.deliveries[0].attempt == 1
            await store.nack(inbox.id, handles(batch), delay_s=0, reason=None, attempts=2, counted=False)

    run(work)


def test_extend_holds_a_message_for_longer(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.ingest(mail(A))
        batch = await store.receive(inbox.id, Receive(lease_s=10))
        assert await store.extend(inbox.id, handles(batch), 100) == [OK]
        later(store, 50)
        assert seqs(await store.receive(inbox.id, Receive())) == []
        assert await store.ack(inbox.id, handles(batch)) == [OK]

    run(work)


def test_the_same_attempt_id_brings_the_same_batch_and_a_worker_its_own(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        for _ in range(4):
            await store.ingest(mail(A))
        first = await store.receive(inbox.id, Receive(max_messages=2, attempt_id="x"))
        again = await store.receive(inbox.id, Receive(max_messages=2, attempt_id="x"))
        assert first.deliveries == again.deliveries
        mine = await store.receive(inbox.id, Receive(max_messages=1, worker="w1"))
        assert seqs(mine) == [3]
        back = await store.receive(inbox.id, Receive(max_messages=1, worker="w1"))
        assert (seqs(back), back.deliveries[0].attempt) == ([3], 2)
        assert await store.ack(inbox.id, handles(mine)) == [EXPIRED]

    run(work)


def test_ack_batch_settles_what_did_arrive_and_nothing_else(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        for _ in range(4):
            await store.ingest(mail(A))
        first = await store.receive(inbox.id, Receive(max_messages=2))
        leases = [each.lease for each in first.deliveries]
        following = await store.receive(
            inbox.id, Receive(max_messages=1, acknowledge=(first.consumer_id, leases[0], leases[-1]))
        )
        assert seqs(following) == [3]
        consumer = (await store.consumers(A))[0]
        assert (consumer.floor, consumer.in_flight) == (2, 1)

    run(work)


def test_ack_batch_of_another_consumer_settles_nothing(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.create_consumer(A, "audit", "earliest")
        await store.ingest(mail(A))
        mine = await store.receive(inbox.id, Receive())
        theirs = await store.receive(inbox.id, Receive(consumer="audit"))
        lease = theirs.deliveries[0].lease
        with pytest.raises(NotFoundError, match="nothing was acknowledged"):
            await store.receive(inbox.id, Receive(acknowledge=(theirs.consumer_id, lease, lease)))
        assert [each.in_flight for each in await store.consumers(A)] == [1, 1]
        assert await store.ack(inbox.id, handles(mine)) == [OK]

    run(work)


def test_an_answer_holds_only_so_many_bytes_and_the_rest_waits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "BATCH_BYTES", 5000)

    async def work(store: Store, inbox: Inbox) -> None:
        for size in (9000, 2000, 2000, 2000):
            await store.ingest(mail(A, text="x" * size))
        first = await store.receive(inbox.id, Receive())
        assert (seqs(first), first.remaining) == ([1], 3), "one too large for any answer is handed over alone"
        await store.nack(inbox.id, handles(first), delay_s=0, reason=None, attempts=5, counted=True)
        assert seqs(await store.receive(inbox.id, Receive())) == [1]
        assert seqs(await store.receive(inbox.id, Receive())) == [2, 3]
        assert seqs(await store.receive(inbox.id, Receive())) == [4]

    run(work)


def test_competing_workers_never_hold_the_same_message(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await asyncio.gather(*(store.ingest(mail(A)) for _ in range(300)))

        async def worker() -> list[int]:
            got: list[int] = []
            while (batch := await store.receive(inbox.id, Receive(max_messages=7))).deliveries:
                got += seqs(batch)
                await store.ack(inbox.id, handles(batch))
            return got

        found = [seq for got in await asyncio.gather(*(worker() for _ in range(8))) for seq in got]
        assert sorted(found) == list(range(1, 301))

    run(work)


def test_several_consumers_each_get_all_and_a_typo_pins_nothing(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.ingest(mail(A))
        await store.create_consumer(A, "audit", "earliest")
        await store.create_consumer(A, "from-now", "now")
        await store.ingest(mail(A))
        for name, expected in (("default", [1, 2]), ("audit", [1, 2]), ("from-now", [2])):
            assert seqs(await store.receive(inbox.id, Receive(consumer=name))) == expected
        with pytest.raises(NotFoundError, match="create it first"):
            await store.receive(inbox.id, Receive(consumer="defualt"))
        with pytest.raises(ConflictError):
            await store.create_consumer(A, "audit", "now")
        await store.delete_consumer(A, "audit")
        assert [each.name for each in await store.consumers(A)] == ["default", "from-now"]

    run(work)


def test_seek_goes_back_and_forward(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        for _ in range(3):
            await store.ingest(mail(A))
        batch = await store.receive(inbox.id, Receive())
        await store.ack(inbox.id, handles(batch))
        await store.seek(inbox.id, "default", 1)
        assert seqs(await store.receive(inbox.id, Receive())) == [2, 3]
        await store.seek(inbox.id, "default", 0)
        assert await store.ack(inbox.id, handles(batch)) == [EXPIRED] * 3, "they are new again"
        await store.seek(inbox.id, "default", 99)
        assert (await store.receive(inbox.id, Receive())).remaining == 0

    run(work)


def test_retention_takes_what_was_settled_long_ago_and_never_what_was_not(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        for _ in range(5):
            await store.ingest(mail(A))
        held = handles(await store.receive(inbox.id, Receive(max_messages=4)))
        await store.ack(inbox.id, [held[0], held[1], held[3]])
        assert await store.retain() == 0
        later(store, POLICY.retention_s + 1)
        assert await store.retain() == 2
        assert (await store.head(inbox.id))[1:] == (5, 3)
        with pytest.raises(TooOldError) as error:
            await store.messages(inbox.id, 0, 10)
        assert error.value.oldest == 3
        later(store, 100 * 365 * 86_400)
        assert await store.retain() == 0
        assert (await store.totals())["kept"] == 3

    run(work)


def test_settled_mail_makes_room_before_its_time_when_the_quota_is_nearly_reached(
    make_store: Callable[..., Store],
) -> None:
    async def inner() -> None:
        store = make_store(Policy(10**9, 1000, 10**9))
        await store.start()
        try:
            inbox, _ = await store.create_inbox(InboxDraft(A))
            assert await store.ingest(mail(A, text="x" * 900)) == [Verdict.stored]
            assert await store.ingest(mail(A, text="x" * 900)) == [Verdict.over_quota]
            await store.retain()
            assert await store.ingest(mail(A, text="x" * 900)) == [Verdict.over_quota], "it is not acknowledged"
            await store.ack(inbox.id, handles(await store.receive(inbox.id, Receive())))
            await store.retain()
            assert await store.ingest(mail(A, text="x" * 900)) == [Verdict.stored]
        finally:
            await store.close()

    asyncio.run(inner())


def test_no_more_settled_mail_goes_before_its_time_than_makes_room(make_store: Callable[..., Store]) -> None:
    async def inner() -> None:
        store = make_store(Policy(10**9, 10_000, 10**9))
        await store.start()
        try:
            inbox, _ = await store.create_inbox(InboxDraft(A))
            for _ in range(10):
                assert await store.ingest(mail(A, text="x" * 920)) == [Verdict.stored]
            await store.ack(inbox.id, handles(await store.receive(inbox.id, Receive())))
            assert await store.retain() == 1
            assert (await store.head(inbox.id))[1:] == (10, 2)
        finally:
            await store.close()

    asyncio.run(inner())


def test_a_dead_letter_keeps_what_follows_it_and_one_that_is_discarded_does_not(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        for _ in range(2):
            await store.ingest(mail(A))
        first, second = handles(await store.receive(inbox.id, Receive(attempts=1)))
        await store.nack(inbox.id, [first], delay_s=0, reason=None, attempts=1, counted=True)
        await store.ack(inbox.id, [second])
        await store.retain()
        later(store, POLICY.retention_s + 1)
        assert await store.retain() == 0
        assert await store.discard(inbox.id, [1], 0, 1e15) == 1
        assert await store.ack(inbox.id, [first]) == [OK], "it is settled"
        await store.retain()
        later(store, POLICY.retention_s + 1)
        assert await store.retain() == 2

    run(work)


def test_dead_letters_are_paged_by_message(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.create_consumer(A, "audit", "earliest")
        for _ in range(2):
            await store.ingest(mail(A))
        for consumer in ("default", "audit"):
            held = handles(await store.receive(inbox.id, Receive(consumer=consumer, attempts=1)))
            await store.nack(inbox.id, held, delay_s=0, reason=None, attempts=1, counted=True)
        page = await store.dead_letters(inbox.id, 0, 1)
        assert [(each.summary.seq, each.consumer) for each in page] == [(1, "default"), (1, "audit")]
        page = await store.dead_letters(inbox.id, 1, 1)
        assert [(each.summary.seq, each.consumer) for each in page] == [(2, "default"), (2, "audit")]

    run(work)


def test_an_inbox_never_has_an_id_that_another_had(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        other, _ = await store.create_inbox(InboxDraft(B))
        await store.write(
            lambda tx: webhooks.create(tx, "https://x.example", event_types=[], inboxes=[], headers={}, client_id=None)
        )
        await store.ingest(mail(B))
        assert await store.write(webhooks.queue) == 1
        await store.delete_inbox(B, force=True)
        anew, _ = await store.create_inbox(InboxDraft(B))
        assert anew.id > other.id
        await store.ingest(mail(B))
        assert await store.write(webhooks.queue) == 1, "its first mail is told too"

    run(work)


def test_an_inbox_with_mail_goes_only_by_force(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        await store.ingest(mail(A))
        with pytest.raises(ConflictError, match="force"):
            await store.delete_inbox(A, force=False)
        assert await store.delete_inbox(A, force=True) == 1
        assert await store.ingest(mail(A)) == [Verdict.unknown_inbox]
        anew, _ = await store.create_inbox(InboxDraft(A))
        assert anew.epoch != inbox.epoch

    run(work)


def test_client_id_makes_creation_idempotent(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        first, new = await store.create_inbox(InboxDraft("c@example.org", client_id="1", metadata={"k": [1, "ü"]}))
        again, newer = await store.create_inbox(InboxDraft("c@example.org", client_id="1"))
        assert (first, new, newer) == (again, True, False)
        with pytest.raises(ConflictError):
            await store.create_inbox(InboxDraft("d@example.org", client_id="1"))
        with pytest.raises(ConflictError):
            await store.create_inbox(InboxDraft("C@example.org"))
        changed = await store.update_inbox("c@example.org", {"lease_s": 7, "metadata": {}})
        assert (changed.lease_s, changed.metadata) == (7, {})

    run(work)


def test_tokens_are_known_until_they_are_revoked(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        text, token = await store.add_token("ci", admin=False, scopes={A: ["receive"]})
        found = await store.authenticate(text)
        assert found
        assert (found.id, found.scopes) == (token.id, {A: ["receive"]})
        for wrong in ("", "rst", text + "x", text[:-1], f"rst_{token.id}_", "rst_zz_" + "x" * 500, "\x00"):
            assert await store.authenticate(wrong) is None
        await store.revoke_token(token.id)
        assert await store.authenticate(text) is None

    run(work)


def test_what_was_committed_is_there_after_a_restart_and_a_new_epoch_says_so(make_store: Callable[..., Store]) -> None:
    async def inner() -> None:
        store = make_store()
        await store.start()
        inbox, _ = await store.create_inbox(InboxDraft(A))
        await store.ingest(mail(A))
        key = await store.handle_key()
        await store.close()
        store = make_store()
        await store.start()
        assert await store.handle_key() == key
        assert (await store.head(inbox.id)) == (inbox.epoch, 1, 1)
        await store.new_epoch()
        assert (await store.head(inbox.id))[0] != inbox.epoch
        await store.close()

    asyncio.run(inner())


def test_odd_texts_are_kept_as_they_are(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        scan = Scan("<ü@x>", "'); DROP TABLE 100% :now \U0001f4ec", "ü@example.net", automated=True, fingerprint=b"")
        await store.ingest(Arrival(bytes(range(256)), "", (A,), None, scan))
        found = await store.message(inbox.id, 1)
        assert (found.subject, found.envelope_from, bool(found.automated)) == (scan.subject, "", True)
        assert (await store.bodies([found.body_id]))[found.body_id] == bytes(range(256))

    run(work)


def test_settings_that_make_a_commit_durable_are_read_from_the_engine(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        found = await store.durability()
        assert found in (
            {"journal_mode": "wal", "synchronous": "full"},
            {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "wal_level": "replica"},
        )

    run(work)


def test_a_mail_that_the_engine_refuses_takes_no_other_with_it(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        good = mail(A)
        broken = Arrival(
            good.raw, good.envelope_from, (A,), None, Scan("", "\ud800", "", automated=False, fingerprint=b"")
        )
        found = await asyncio.gather(
            *(store.ingest(each) for each in (mail(A), broken, mail(A), mail(A))), return_exceptions=True
        )
        assert [found[0], *found[2:]] == [[Verdict.stored]] * 3
        assert isinstance(found[1], Exception) or found[1] == [Verdict.unavailable]
        assert (await store.head(inbox.id))[1] == 3

    run(work)


def test_looking_whether_something_is_ready_agrees_with_receiving(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        async def ready() -> bool:
            return await store.anything_ready(inbox.id, "default")

        assert not await ready()
        await store.ingest(mail(A))
        assert await ready()
        batch = await store.receive(inbox.id, Receive(lease_s=60))
        assert not await ready()
        later(store, 61)
        assert await ready()
        await store.receive(inbox.id, Receive())
        await store.ack(inbox.id, handles(batch))
        assert not await ready()
        await store.seek(inbox.id, "default", 0)
        assert await ready()

    run(work)


def test_a_worker_that_wants_more_is_not_given_what_it_holds(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        for _ in range(3):
            await store.ingest(mail(A))
        assert seqs(await store.receive(inbox.id, Receive(worker="w", max_messages=1))) == [1]
        assert seqs(await store.receive(inbox.id, Receive(worker="w", max_messages=1, reclaim=False))) == [2]
        assert seqs(await store.receive(inbox.id, Receive(worker="w"))) == [1, 2, 3]

    run(work)


def test_hostile_mail_is_kept_and_handed_over_byte_for_byte(run: Run) -> None:
    corpus = [path.read_bytes() for path in sorted(HOSTILE.glob("*.eml"))]

    async def work(store: Store, inbox: Inbox) -> None:
        arrivals = [Arrival(raw, "", (A,), None, scan(raw, "")) for raw in corpus]
        assert await asyncio.gather(*map(store.ingest, arrivals)) == [[Verdict.stored]] * len(corpus)
        handed: list[bytes] = []
        while batch := (await store.receive(inbox.id, Receive(max_messages=100))).deliveries:
            raw = await store.bodies([each.summary.body_id for each in batch])
            handed += [raw[each.summary.body_id] for each in batch]
        assert handed == corpus

    run(work)


def test_what_moved_is_told_until_it_is_known_and_nothing_is_read_where_nothing_was_committed(run: Run) -> None:
    async def work(store: Store, inbox: Inbox) -> None:
        first = inbox.epoch, 0
        assert await store.moved([inbox.id], {}) == {inbox.id: first}
        assert await store.moved([inbox.id], {}) == {}, "nothing was committed since"
        await store.ingest(mail(A))
        assert await store.moved([inbox.id], {inbox.id: first}) == {inbox.id: (inbox.epoch, 1)}
        await store.ingest(mail(A))
        assert await store.moved([], {}) == {}, "nobody waits for it"
        await store.create_inbox(InboxDraft(B))
        assert await store.moved([inbox.id], {inbox.id: (inbox.epoch, 2)}) == {}, "it is known"
        await store.new_epoch()
        assert (await store.moved([inbox.id], {inbox.id: (inbox.epoch, 2)}))[inbox.id][1] == 2

    run(work)


def test_heads_are_read_though_every_reader_is_busy(run: Run) -> None:
    """They show whether the store answers."""

    async def work(store: Store, inbox: Inbox) -> None:
        enough = threading.Event()
        busy = [asyncio.ensure_future(store.read(lambda _: enough.wait(20))) for _ in range(8)]
        try:
            assert inbox.id in await asyncio.wait_for(store.moved([inbox.id], {}), 10)
        finally:
            enough.set()
            await asyncio.gather(*busy)

    run(work)
