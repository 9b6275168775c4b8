-- What SQLite says in its own way: one writer, so that nothing is locked.

-- name: inboxes_for_arrivals
SELECT id, address, head, used_bytes, quota_bytes FROM inbox WHERE address IN (SELECT value FROM json_each(:addresses))

-- name: hops_known
SELECT identity, inbox_id FROM hop WHERE identity IN (SELECT value FROM json_each(:identities))

-- name: repeats
SELECT inbox.address, message.fingerprint, min(message.seq)
FROM json_each(:addresses) AS a JOIN json_each(:fingerprints) AS f ON f.key = a.key CROSS JOIN inbox ON inbox.address = a.value
CROSS JOIN message ON message.inbox_id = inbox.id AND message.fingerprint = f.value AND message.fingerprint <> ''
GROUP BY message.inbox_id, message.fingerprint

-- name: next_bodies
WITH RECURSIVE following (id, more) AS (
    SELECT (SELECT coalesce(max(id), 0) FROM body) + 1, :count - 1
    UNION ALL SELECT id + 1, more - 1 FROM following WHERE more > 0
) SELECT id FROM following

-- name: insert_bodies
INSERT INTO body (id, raw) VALUES (:id, :raw)

-- name: insert_messages
INSERT INTO message (inbox_id, seq, body_id, size, received_at, envelope_from, delivered_to, message_id, subject, sender,
    automated, fingerprint, duplicate_of)
VALUES (:inbox_id, :seq, :body_id, :size, :received_at, :envelope_from, :delivered_to, :message_id, :subject, :sender,
    :automated, :fingerprint, :duplicate_of)

-- name: insert_hops
INSERT INTO hop (identity, inbox_id, at) VALUES (:identity, :inbox_id, :at)

-- name: update_positions
UPDATE inbox SET head = :head, used_bytes = used_bytes + :bytes WHERE id = :inbox_id

-- name: lock_inbox
SELECT id FROM inbox WHERE id = :inbox_id

-- name: lock_consumers
SELECT id FROM consumer WHERE inbox_id = :inbox_id

-- name: lock_consumer
SELECT id, frontier, leases FROM consumer WHERE inbox_id = :inbox_id AND name = :name

-- name: lock_consumer_by_id
SELECT inbox_id, frontier FROM consumer WHERE id = :consumer_id

-- name: deliveries_among
SELECT seq, lease, attempts, leased, first_received_at FROM delivery
WHERE consumer_id = :consumer_id AND seq IN (SELECT value FROM json_each(:seqs))

-- name: dead_among
SELECT seq, lease, first_received_at FROM dead_letter
WHERE consumer_id = :consumer_id AND seq IN (SELECT value FROM json_each(:seqs))

-- name: delete_delivery
DELETE FROM delivery WHERE consumer_id = :consumer_id AND seq = :seq

-- name: postpone_delivery
UPDATE delivery SET ready_at = :ready_at, leased = :leased, attempts = :attempts, reason = coalesce(:reason, reason)
WHERE consumer_id = :consumer_id AND seq = :seq

-- name: put_delivery
INSERT INTO delivery (consumer_id, seq, lease, attempts, ready_at, first_received_at, leased, worker, attempt_id)
VALUES (:consumer_id, :seq, :lease, :attempts, :ready_at, :first_received_at, :leased, :worker, :attempt_id)
ON CONFLICT (consumer_id, seq) DO UPDATE SET lease = excluded.lease, attempts = excluded.attempts, ready_at = excluded.ready_at,
    leased = excluded.leased, worker = excluded.worker, attempt_id = excluded.attempt_id

-- name: put_dead_letter
INSERT INTO dead_letter (consumer_id, seq, lease, attempts, first_received_at, last_error, reason, died_at)
VALUES (:consumer_id, :seq, :lease, :attempts, :first_received_at, :last_error, :reason, :died_at)

-- name: delete_dead_letter
DELETE FROM dead_letter WHERE consumer_id = :consumer_id AND seq = :seq

-- name: messages_among
SELECT * FROM summary WHERE inbox_id = :inbox_id AND seq IN (SELECT value FROM json_each(:seqs)) ORDER BY seq

-- name: bodies
SELECT id, raw FROM body WHERE id IN (SELECT value FROM json_each(:ids))

-- name: version
PRAGMA data_version

-- name: heads
SELECT id, epoch, head FROM inbox WHERE id IN (SELECT value FROM json_each(:ids))

-- name: delete_unused_bodies
DELETE FROM body WHERE id IN (SELECT value FROM json_each(:ids)) AND NOT EXISTS (SELECT 1 FROM message WHERE body_id = body.id)

-- name: inbox_bodies
SELECT DISTINCT body_id FROM message WHERE inbox_id = :inbox_id

-- name: durability
SELECT journal_mode, (SELECT synchronous FROM pragma_synchronous) FROM pragma_journal_mode

-- name: next_inbox
SELECT max(:retired, coalesce(max(id), 0)) + 1 FROM inbox
