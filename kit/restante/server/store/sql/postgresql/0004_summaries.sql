-- Messages as they are shown. Its id has the time at which a message came, so a repeat names the first with that one's.
CREATE VIEW summary AS
SELECT inbox_id, seq, body_id, size, received_at, envelope_from, delivered_to, message_id, subject, sender, automated, duplicate_of,
    (SELECT first.received_at FROM message first WHERE first.inbox_id = message.inbox_id AND first.seq = message.duplicate_of)
        AS duplicate_at
FROM message;
