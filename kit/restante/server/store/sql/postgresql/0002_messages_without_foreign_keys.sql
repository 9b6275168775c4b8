-- PostgreSQL checks foreign keys row by row: a fifth of what ingestion costs. Whoever writes a message has the inbox's row locked and
-- has just written the body, and SQLite goes on checking the same statements in every test. In the order of ingestion's own locks:
SET LOCAL lock_timeout = '5s';
LOCK TABLE inbox, body, message IN ACCESS EXCLUSIVE MODE;
ALTER TABLE message DROP CONSTRAINT message_inbox_id_fkey, DROP CONSTRAINT message_body_id_fkey;
