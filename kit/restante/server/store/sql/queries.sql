-- What both engines understand. sqlite.sql and postgresql.sql hold what they say differently.

-- name: meta
SELECT value FROM meta WHERE key = :key

-- name: set_meta
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO UPDATE SET value = excluded.value

-- name: insert_meta
INSERT INTO meta (key, value) VALUES (:key, :value) ON CONFLICT (key) DO NOTHING

-- name: inbox_by_address
SELECT id, address, display_name, client_id, metadata, epoch, head, oldest, used_bytes, lease_s, attempts, retention_s,
    quota_bytes, created_at
FROM inbox WHERE address = :address

-- name: inbox_by_client_id
SELECT id, address, display_name, client_id, metadata, epoch, head, oldest, used_bytes, lease_s, attempts, retention_s,
    quota_bytes, created_at
FROM inbox WHERE client_id = :client_id

-- name: inbox_page
SELECT id, address, display_name, client_id, metadata, epoch, head, oldest, used_bytes, lease_s, attempts, retention_s,
    quota_bytes, created_at
FROM inbox WHERE id > :after ORDER BY id LIMIT :limit

-- name: inbox_recipients
SELECT address, used_bytes, quota_bytes FROM inbox ORDER BY address

-- name: insert_inbox
INSERT INTO inbox (id, address, display_name, client_id, metadata, epoch, lease_s, attempts, retention_s, quota_bytes, created_at)
VALUES (:id, :address, :display_name, :client_id, :metadata, :epoch, :lease_s, :attempts, :retention_s, :quota_bytes, :now)

-- name: update_inbox
UPDATE inbox SET display_name = :display_name, metadata = :metadata, lease_s = :lease_s, attempts = :attempts,
    retention_s = :retention_s, quota_bytes = :quota_bytes
WHERE id = :inbox_id

-- name: delete_inbox
DELETE FROM inbox WHERE id = :inbox_id

-- name: delete_inbox_messages
DELETE FROM message WHERE inbox_id = :inbox_id

-- name: delete_inbox_settled
DELETE FROM settled WHERE inbox_id = :inbox_id

-- name: delete_inbox_deliveries
DELETE FROM delivery WHERE consumer_id IN (SELECT id FROM consumer WHERE inbox_id = :inbox_id)

-- name: delete_inbox_dead_letters
DELETE FROM dead_letter WHERE consumer_id IN (SELECT id FROM consumer WHERE inbox_id = :inbox_id)

-- name: delete_inbox_consumers
DELETE FROM consumer WHERE inbox_id = :inbox_id

-- name: delete_inbox_webhook_positions
DELETE FROM webhook_position WHERE inbox_id = :inbox_id

-- name: delete_inbox_webhook_deliveries
DELETE FROM webhook_delivery WHERE inbox_id = :inbox_id

-- name: new_epochs
UPDATE inbox SET epoch = :epoch

-- name: insert_consumer
INSERT INTO consumer (inbox_id, name, frontier, leases, created_at) VALUES (:inbox_id, :name, :frontier, :leases, :now) RETURNING id

-- name: delete_consumer
DELETE FROM consumer WHERE id = :consumer_id

-- name: consumers
SELECT c.id, c.name, c.frontier, i.head, i.oldest,
    (SELECT min(seq) FROM delivery d WHERE d.consumer_id = c.id),
    (SELECT min(seq) FROM dead_letter d WHERE d.consumer_id = c.id),
    (SELECT count(*) FROM delivery d WHERE d.consumer_id = c.id AND d.leased AND d.ready_at > :now),
    (SELECT count(*) FROM delivery d WHERE d.consumer_id = c.id AND NOT (d.leased AND d.ready_at > :now)),
    (SELECT count(*) FROM dead_letter d WHERE d.consumer_id = c.id),
    c.last_receive_at
FROM consumer c JOIN inbox i ON i.id = c.inbox_id
WHERE c.inbox_id = :inbox_id ORDER BY c.id

-- name: received_at
SELECT received_at FROM message WHERE inbox_id = :inbox_id AND seq = :seq

-- name: inbox_of_consumer
SELECT inbox_id, frontier FROM consumer WHERE id = :consumer_id

-- name: touch_consumer
UPDATE consumer SET frontier = :frontier, leases = :leases, last_receive_at = :now WHERE id = :consumer_id

-- name: set_frontier
UPDATE consumer SET frontier = :frontier WHERE id = :consumer_id

-- name: delete_deliveries
DELETE FROM delivery WHERE consumer_id = :consumer_id

-- name: delete_deliveries_above
DELETE FROM delivery WHERE consumer_id = :consumer_id AND seq > :seq

-- name: delete_dead_letters
DELETE FROM dead_letter WHERE consumer_id = :consumer_id

-- name: delete_dead_letters_above
DELETE FROM dead_letter WHERE consumer_id = :consumer_id AND seq > :seq

-- name: deliveries_of_attempt
SELECT seq, lease, attempts, ready_at, first_received_at FROM delivery
WHERE consumer_id = :consumer_id AND attempt_id = :attempt_id AND leased AND ready_at > :now ORDER BY seq

-- name: deliveries_of_worker
SELECT seq, lease, attempts, first_received_at, reason FROM delivery
WHERE consumer_id = :consumer_id AND worker = :worker AND leased AND ready_at > :now ORDER BY seq LIMIT :limit

-- name: deliveries_due
SELECT seq, lease, attempts, first_received_at, reason FROM delivery
WHERE consumer_id = :consumer_id AND ready_at <= :now ORDER BY ready_at, seq LIMIT :limit

-- name: count_due
SELECT count(*) FROM delivery WHERE consumer_id = :consumer_id AND ready_at <= :now

-- name: anything_ready
SELECT 1 FROM consumer c JOIN inbox i ON i.id = c.inbox_id
WHERE c.inbox_id = :inbox_id AND c.name = :name
    AND (c.frontier < i.head OR EXISTS (SELECT 1 FROM delivery d WHERE d.consumer_id = c.id AND d.ready_at <= :now))

-- name: next_ready
SELECT min(ready_at) FROM delivery WHERE consumer_id = :consumer_id

-- name: settle_leases
DELETE FROM delivery WHERE consumer_id = :consumer_id AND lease BETWEEN :first AND :last AND leased

-- name: deliveries_exhausted
SELECT d.consumer_id, d.seq, d.lease, d.attempts, d.first_received_at, d.reason
FROM delivery d JOIN consumer c ON c.id = d.consumer_id JOIN inbox i ON i.id = c.inbox_id
WHERE d.ready_at <= :now AND d.attempts >= coalesce(i.attempts, :attempts) LIMIT :limit

-- name: dead_letter_page
SELECT m.*, c.name, d.attempts, d.last_error, d.reason, d.died_at
FROM dead_letter d JOIN consumer c ON c.id = d.consumer_id JOIN summary m ON m.inbox_id = c.inbox_id AND m.seq = d.seq
WHERE c.inbox_id = :inbox_id AND d.seq IN (
    SELECT DISTINCT l.seq FROM dead_letter l JOIN consumer o ON o.id = l.consumer_id
    WHERE o.inbox_id = :inbox_id AND l.seq > :after ORDER BY l.seq LIMIT :limit
) ORDER BY d.seq, c.id

-- name: dead_letters_between
SELECT d.consumer_id, d.seq, d.lease, d.first_received_at FROM dead_letter d
JOIN consumer c ON c.id = d.consumer_id JOIN message m ON m.inbox_id = c.inbox_id AND m.seq = d.seq
WHERE c.inbox_id = :inbox_id AND m.received_at >= :since AND m.received_at < :until

-- name: message_page
SELECT * FROM summary WHERE inbox_id = :inbox_id AND seq > :after AND seq <= :upto ORDER BY seq LIMIT :limit

-- name: first_since
SELECT min(seq) FROM message WHERE inbox_id = :inbox_id AND received_at >= :since

-- name: message
SELECT * FROM summary WHERE inbox_id = :inbox_id AND seq = :seq

-- name: body
SELECT raw FROM body WHERE id = :body_id

-- name: head
SELECT epoch, head, oldest FROM inbox WHERE id = :inbox_id

-- name: update_position
UPDATE inbox SET head = :head, used_bytes = used_bytes + :bytes WHERE id = :inbox_id

-- name: dead_since
SELECT count(*) FROM dead_letter

-- name: insert_token
INSERT INTO token (id, name, digest, admin, scopes, created_at) VALUES (:id, :name, :digest, :admin, :scopes, :now)

-- name: token
SELECT id, name, digest, admin, scopes, created_at, last_used_at, revoked_at FROM token WHERE id = :id

-- name: tokens
SELECT id, name, digest, admin, scopes, created_at, last_used_at, revoked_at FROM token ORDER BY created_at, id

-- name: revoked_tokens
SELECT id, revoked_at FROM token WHERE revoked_at >= :since

-- name: revoke_token
UPDATE token SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL

-- name: use_token
UPDATE token SET last_used_at = :at WHERE id = :id

-- name: idempotent
SELECT request, status, response FROM idempotency WHERE token_id = :token_id AND key = :key

-- name: claim_idempotent
INSERT INTO idempotency (key, token_id, request, status, response, at) VALUES (:key, :token_id, :request, 0, '', :now)
ON CONFLICT (token_id, key) DO NOTHING

-- name: keep_idempotent
UPDATE idempotency SET status = :status, response = :response WHERE token_id = :token_id AND key = :key

-- name: purge_idempotent
DELETE FROM idempotency WHERE at < :before

-- name: purge_hops
DELETE FROM hop WHERE at < :before

-- name: inboxes_to_settle
SELECT id FROM inbox WHERE id > :after AND oldest <= head ORDER BY id LIMIT :limit

-- name: inbox_to_settle
SELECT i.oldest, i.retention_s, i.quota_bytes, i.used_bytes,
    (SELECT min(c.frontier) FROM consumer c WHERE c.inbox_id = i.id),
    (SELECT min(d.seq) FROM delivery d JOIN consumer c ON c.id = d.consumer_id WHERE c.inbox_id = i.id),
    (SELECT min(d.seq) FROM dead_letter d JOIN consumer c ON c.id = d.consumer_id WHERE c.inbox_id = i.id)
FROM inbox i WHERE i.id = :inbox_id

-- name: mark_settled
INSERT INTO settled (inbox_id, seq, at) VALUES (:inbox_id, :seq, :now) ON CONFLICT (inbox_id, seq) DO NOTHING

-- name: settled_before
SELECT max(seq) FROM settled WHERE inbox_id = :inbox_id AND at <= :before

-- name: forget_settled
DELETE FROM settled WHERE inbox_id = :inbox_id AND seq <= :seq

-- name: settled_latest
SELECT max(seq) FROM settled WHERE inbox_id = :inbox_id

-- name: expired_messages
SELECT seq, body_id, size FROM message WHERE inbox_id = :inbox_id AND seq <= :upto ORDER BY seq LIMIT :limit

-- name: delete_messages_upto
DELETE FROM message WHERE inbox_id = :inbox_id AND seq <= :upto

-- name: delete_unused_body
DELETE FROM body WHERE id = :body_id AND NOT EXISTS (SELECT 1 FROM message WHERE body_id = :body_id)

-- name: moved_oldest
UPDATE inbox SET oldest = :oldest, used_bytes = used_bytes - :bytes WHERE id = :inbox_id

-- name: webhook
SELECT id, client_id, url, event_types, inbox_ids, headers, secrets, state, reason, created_at FROM webhook WHERE id = :id

-- name: webhook_by_client_id
SELECT id, client_id, url, event_types, inbox_ids, headers, secrets, state, reason, created_at FROM webhook
WHERE client_id = :client_id

-- name: webhooks
SELECT id, client_id, url, event_types, inbox_ids, headers, secrets, state, reason, created_at FROM webhook
ORDER BY created_at, id

-- name: insert_webhook
INSERT INTO webhook (id, client_id, url, event_types, inbox_ids, headers, secrets, state, created_at)
VALUES (:id, :client_id, :url, :event_types, :inbox_ids, :headers, :secrets, 'active', :now)

-- name: update_webhook
UPDATE webhook SET url = :url, event_types = :event_types, inbox_ids = :inbox_ids, headers = :headers, secrets = :secrets,
    state = :state, reason = :reason
WHERE id = :id

-- name: delete_webhook
DELETE FROM webhook WHERE id = :id

-- name: webhook_position
SELECT seq FROM webhook_position WHERE webhook_id = :webhook_id AND inbox_id = :inbox_id

-- name: set_webhook_position
INSERT INTO webhook_position (webhook_id, inbox_id, seq) VALUES (:webhook_id, :inbox_id, :seq)
ON CONFLICT (webhook_id, inbox_id) DO UPDATE SET seq = excluded.seq

-- name: webhook_behind
SELECT i.id, i.head, p.seq, i.address FROM inbox i
LEFT JOIN webhook_position p ON p.inbox_id = i.id AND p.webhook_id = :webhook_id
WHERE i.head > coalesce(p.seq, 0)

-- name: insert_webhook_delivery
INSERT INTO webhook_delivery (id, webhook_id, inbox_id, seq, event_type, state, attempts, next_at, created_at)
VALUES (:id, :webhook_id, :inbox_id, :seq, :event_type, 'pending', 0, :next_at, :now)
ON CONFLICT (id) DO NOTHING

-- name: webhook_deliveries_due
SELECT d.id, d.webhook_id, d.inbox_id, d.seq, d.event_type, d.state, d.attempts, d.next_at, d.status, d.last_error, d.created_at,
    (SELECT m.received_at FROM message m WHERE m.inbox_id = d.inbox_id AND m.seq = d.seq)
FROM webhook_delivery d JOIN webhook w ON w.id = d.webhook_id
WHERE d.state = 'pending' AND d.next_at <= :now AND w.state = 'active' ORDER BY d.next_at LIMIT :limit

-- name: webhook_delivery_page
SELECT d.id, d.webhook_id, d.inbox_id, d.seq, d.event_type, d.state, d.attempts, d.next_at, d.status, d.last_error, d.created_at,
    (SELECT m.received_at FROM message m WHERE m.inbox_id = d.inbox_id AND m.seq = d.seq)
FROM webhook_delivery d WHERE d.webhook_id = :webhook_id ORDER BY d.created_at DESC, d.id LIMIT :limit

-- name: webhook_next
SELECT min(d.next_at) FROM webhook_delivery d JOIN webhook w ON w.id = d.webhook_id
WHERE d.state = 'pending' AND w.state = 'active'

-- name: update_webhook_delivery
UPDATE webhook_delivery SET state = :state, attempts = :attempts, next_at = :next_at, status = :status, last_error = :last_error
WHERE id = :id

-- name: retry_webhook_deliveries
UPDATE webhook_delivery SET state = 'pending', attempts = 0, next_at = :now WHERE webhook_id = :webhook_id AND state = 'failed'

-- name: purge_webhook_deliveries
DELETE FROM webhook_delivery WHERE created_at < :before AND state <> 'pending'

-- name: totals
SELECT
    (SELECT coalesce(sum(head), 0) FROM inbox),
    (SELECT coalesce(sum(i.head - c.frontier), 0) FROM consumer c JOIN inbox i ON i.id = c.inbox_id),
    (SELECT count(*) FROM delivery WHERE leased AND ready_at > :now),
    (SELECT count(*) FROM delivery WHERE NOT (leased AND ready_at > :now)),
    (SELECT count(*) FROM dead_letter),
    (SELECT count(*) FROM message),
    (SELECT coalesce(sum(i.head), 0) FROM consumer c JOIN inbox i ON i.id = c.inbox_id)

-- name: waiting
SELECT i.address, c.name, c.frontier, i.head,
    (SELECT min(seq) FROM delivery d WHERE d.consumer_id = c.id),
    (SELECT count(*) FROM delivery d WHERE d.consumer_id = c.id),
    (SELECT count(*) FROM dead_letter d WHERE d.consumer_id = c.id),
    i.id
FROM consumer c JOIN inbox i ON i.id = c.inbox_id
WHERE c.frontier < i.head OR EXISTS (SELECT 1 FROM delivery d WHERE d.consumer_id = c.id)
    OR EXISTS (SELECT 1 FROM dead_letter d WHERE d.consumer_id = c.id)
ORDER BY c.id

-- name: claim_webhook_delivery
UPDATE webhook_delivery SET next_at = :until WHERE id = :id AND next_at = :next_at AND state = 'pending'

-- name: forget_webhook_positions
DELETE FROM webhook_position WHERE webhook_id = :webhook_id

-- name: forget_webhook_deliveries
DELETE FROM webhook_delivery WHERE webhook_id = :webhook_id

-- name: received_between
SELECT seq FROM message
WHERE inbox_id = :inbox_id AND seq > :after AND received_at >= :since AND received_at < :until ORDER BY seq LIMIT :limit

-- name: repeat_webhook_delivery
UPDATE webhook_delivery SET state = 'pending', attempts = 0, next_at = :now WHERE id = :id
