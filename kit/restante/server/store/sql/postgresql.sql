-- What PostgreSQL says in its own way. Several servers write: rows of inboxes are locked in the order of their ids,
-- and a batch is one statement over arrays.

-- name: inboxes_for_arrivals
-- By `id + 0`, since the index of ids has them in order but would be read whole.
SELECT id, address, head, used_bytes, quota_bytes FROM inbox WHERE address = ANY(:addresses) ORDER BY id + 0 FOR UPDATE

-- name: hops_known
SELECT identity, inbox_id FROM hop WHERE identity = ANY(:identities)

-- name: repeats
-- Subqueries leave the planner one way, by the index, even while its statistics still call the table empty.
SELECT address, fingerprint, seq FROM (
    SELECT pair.address, pair.fingerprint, (SELECT min(m.seq) FROM message m WHERE m.fingerprint = pair.fingerprint
        AND m.fingerprint <> '' AND m.inbox_id = (SELECT i.id FROM inbox i WHERE i.address = pair.address)) AS seq
    FROM unnest(:addresses::text[], :fingerprints::text[]) AS pair (address, fingerprint)
) AS found WHERE seq IS NOT NULL

-- name: next_bodies
SELECT nextval('body_number') FROM generate_series(1, :count)

-- name: insert_bodies
INSERT INTO body (id, raw) SELECT * FROM unnest(:id::bigint[], :raw::bytea[])

-- name: insert_messages
INSERT INTO message (inbox_id, seq, body_id, size, received_at, envelope_from, delivered_to, message_id, subject, sender,
    automated, fingerprint, duplicate_of)
SELECT * FROM unnest(:inbox_id::bigint[], :seq::bigint[], :body_id::bigint[], :size::bigint[], :received_at::float8[],
    :envelope_from::text[], :delivered_to::text[], :message_id::text[], :subject::text[], :sender::text[],
    :automated::boolean[], :fingerprint::text[], :duplicate_of::bigint[])

-- name: insert_hops
INSERT INTO hop (identity, inbox_id, at) SELECT * FROM unnest(:identity::text[], :inbox_id::bigint[], :at::float8[])

-- name: update_positions
UPDATE inbox SET head = moved.head, used_bytes = inbox.used_bytes + moved.bytes
FROM unnest(:inbox_id::bigint[], :head::bigint[], :bytes::bigint[]) AS moved (id, head, bytes) WHERE inbox.id = moved.id

-- name: lock_inbox
SELECT id FROM inbox WHERE id = :inbox_id FOR UPDATE

-- name: lock_consumers
SELECT id FROM consumer WHERE inbox_id = :inbox_id ORDER BY id FOR UPDATE

-- name: lock_consumer
SELECT id, frontier, leases FROM consumer WHERE inbox_id = :inbox_id AND name = :name FOR UPDATE

-- name: lock_consumer_by_id
SELECT inbox_id, frontier FROM consumer WHERE id = :consumer_id FOR UPDATE

-- name: deliveries_among
SELECT seq, lease, attempts, leased, first_received_at FROM delivery
WHERE consumer_id = :consumer_id AND seq = ANY(:seqs::bigint[])

-- name: dead_among
SELECT seq, lease, first_received_at FROM dead_letter WHERE consumer_id = :consumer_id AND seq = ANY(:seqs::bigint[])

-- name: delete_delivery
DELETE FROM delivery USING unnest(:consumer_id::bigint[], :seq::bigint[]) AS gone (consumer_id, seq)
WHERE delivery.consumer_id = gone.consumer_id AND delivery.seq = gone.seq

-- name: postpone_delivery
UPDATE delivery SET ready_at = put.ready_at, leased = put.leased, attempts = put.attempts, reason = coalesce(put.reason, delivery.reason)
FROM unnest(:consumer_id::bigint[], :seq::bigint[], :ready_at::float8[], :leased::boolean[], :attempts::bigint[], :reason::text[])
    AS put (consumer_id, seq, ready_at, leased, attempts, reason)
WHERE delivery.consumer_id = put.consumer_id AND delivery.seq = put.seq

-- name: put_delivery
INSERT INTO delivery (consumer_id, seq, lease, attempts, ready_at, first_received_at, leased, worker, attempt_id)
SELECT * FROM unnest(:consumer_id::bigint[], :seq::bigint[], :lease::bigint[], :attempts::bigint[], :ready_at::float8[],
    :first_received_at::float8[], :leased::boolean[], :worker::text[], :attempt_id::text[])
ON CONFLICT (consumer_id, seq) DO UPDATE SET lease = excluded.lease, attempts = excluded.attempts, ready_at = excluded.ready_at,
    leased = excluded.leased, worker = excluded.worker, attempt_id = excluded.attempt_id

-- name: put_dead_letter
INSERT INTO dead_letter (consumer_id, seq, lease, attempts, first_received_at, last_error, reason, died_at)
SELECT * FROM unnest(:consumer_id::bigint[], :seq::bigint[], :lease::bigint[], :attempts::bigint[], :first_received_at::float8[],
    :last_error::text[], :reason::text[], :died_at::float8[])

-- name: delete_dead_letter
DELETE FROM dead_letter USING unnest(:consumer_id::bigint[], :seq::bigint[]) AS gone (consumer_id, seq)
WHERE dead_letter.consumer_id = gone.consumer_id AND dead_letter.seq = gone.seq

-- name: messages_among
SELECT found.* FROM unnest(:seqs::bigint[]) AS wanted (number)
-- OFFSET 0 leaves the planner one way, by the index; without fresh statistics it would read the whole inbox.
CROSS JOIN LATERAL (SELECT * FROM summary WHERE inbox_id = :inbox_id AND seq = wanted.number OFFSET 0) AS found ORDER BY seq

-- name: bodies
SELECT id, raw FROM body WHERE id = ANY(:ids::bigint[])

-- name: version
-- After a failover another server may have come to the same number by other commits.
SELECT concat(pg_postmaster_start_time(), ' ', pg_current_snapshot())

-- name: heads
SELECT id, epoch, head FROM inbox WHERE id = ANY(:ids::bigint[])

-- name: delete_unused_bodies
DELETE FROM body WHERE id = ANY(:ids::bigint[]) AND NOT EXISTS (SELECT 1 FROM message WHERE body_id = body.id)

-- name: inbox_bodies
SELECT DISTINCT body_id FROM message WHERE inbox_id = :inbox_id

-- name: notify
SELECT pg_notify('restante', :payload)

-- name: now
SELECT extract(epoch FROM clock_timestamp())::float8

-- name: next_inbox
-- A sequence never goes back, so `retired` is not asked for.
SELECT nextval(pg_get_serial_sequence('inbox', 'id'))
