-- As in 0002: whoever writes a delivery has the consumer's row locked.
SET LOCAL lock_timeout = '5s';
LOCK TABLE consumer, delivery IN ACCESS EXCLUSIVE MODE;
ALTER TABLE delivery DROP CONSTRAINT delivery_consumer_id_fkey;
