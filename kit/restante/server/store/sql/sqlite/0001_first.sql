CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE inbox (
    id INTEGER PRIMARY KEY,
    address TEXT NOT NULL UNIQUE,
    display_name TEXT,
    client_id TEXT UNIQUE,
    metadata TEXT NOT NULL,
    epoch TEXT NOT NULL,
    head INTEGER NOT NULL DEFAULT 0,
    oldest INTEGER NOT NULL DEFAULT 1,
    used_bytes INTEGER NOT NULL DEFAULT 0,
    lease_s INTEGER,
    attempts INTEGER,
    retention_s INTEGER,
    quota_bytes INTEGER,
    created_at REAL NOT NULL
);

-- One row for each mail, however many recipients it has.
CREATE TABLE body (id INTEGER PRIMARY KEY, raw BLOB NOT NULL);

CREATE TABLE message (
    inbox_id INTEGER NOT NULL REFERENCES inbox (id),
    seq INTEGER NOT NULL,
    body_id INTEGER NOT NULL REFERENCES body (id),
    size INTEGER NOT NULL,
    received_at REAL NOT NULL,
    envelope_from TEXT NOT NULL,
    delivered_to TEXT NOT NULL,
    message_id TEXT NOT NULL,
    subject TEXT NOT NULL,
    sender TEXT NOT NULL,
    automated INTEGER NOT NULL,
    fingerprint TEXT NOT NULL,
    duplicate_of INTEGER,
    PRIMARY KEY (inbox_id, seq)
) WITHOUT ROWID;
CREATE INDEX message_body ON message (body_id);
CREATE INDEX message_fingerprint ON message (inbox_id, fingerprint) WHERE fingerprint <> '';

-- MTA host + long queue id, and the recipient's inbox: a retry after a lost 250 is known by it.
CREATE TABLE hop (
    identity TEXT NOT NULL,
    inbox_id INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (identity, inbox_id)
) WITHOUT ROWID;
CREATE INDEX hop_at ON hop (at);

CREATE TABLE consumer (
    id INTEGER PRIMARY KEY,
    inbox_id INTEGER NOT NULL REFERENCES inbox (id),
    name TEXT NOT NULL,
    frontier INTEGER NOT NULL,
    leases INTEGER NOT NULL DEFAULT 0,
    created_at REAL NOT NULL,
    last_receive_at REAL,
    UNIQUE (inbox_id, name)
);

-- What a consumer was handed and has not settled.
CREATE TABLE delivery (
    consumer_id INTEGER NOT NULL REFERENCES consumer (id),
    seq INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    ready_at REAL NOT NULL,
    first_received_at REAL NOT NULL,
    leased INTEGER NOT NULL,
    worker TEXT,
    attempt_id TEXT,
    reason TEXT,
    PRIMARY KEY (consumer_id, seq)
) WITHOUT ROWID;
CREATE INDEX delivery_ready ON delivery (consumer_id, ready_at);
CREATE INDEX delivery_lease ON delivery (consumer_id, lease);
CREATE INDEX delivery_worker ON delivery (consumer_id, worker) WHERE worker IS NOT NULL;
CREATE INDEX delivery_attempt ON delivery (consumer_id, attempt_id) WHERE attempt_id IS NOT NULL;

CREATE TABLE dead_letter (
    consumer_id INTEGER NOT NULL REFERENCES consumer (id),
    seq INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    first_received_at REAL NOT NULL,
    last_error TEXT,
    reason TEXT NOT NULL,
    died_at REAL NOT NULL,
    PRIMARY KEY (consumer_id, seq)
) WITHOUT ROWID;

-- Up to which message all consumers had settled, and when that was seen: retention counts from there.
CREATE TABLE settled (inbox_id INTEGER NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, PRIMARY KEY (inbox_id, seq)) WITHOUT ROWID;

CREATE TABLE token (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    admin INTEGER NOT NULL,
    scopes TEXT NOT NULL,
    created_at REAL NOT NULL,
    last_used_at REAL,
    revoked_at REAL
) WITHOUT ROWID;

CREATE TABLE webhook (
    id TEXT PRIMARY KEY,
    client_id TEXT UNIQUE,
    url TEXT NOT NULL,
    event_types TEXT NOT NULL,
    inbox_ids TEXT NOT NULL,
    headers TEXT NOT NULL,
    secrets TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    created_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE webhook_position (
    webhook_id TEXT NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    inbox_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (webhook_id, inbox_id)
) WITHOUT ROWID;

CREATE TABLE webhook_delivery (
    id TEXT PRIMARY KEY,
    webhook_id TEXT NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    inbox_id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    next_at REAL NOT NULL,
    status INTEGER,
    last_error TEXT,
    created_at REAL NOT NULL
) WITHOUT ROWID;
CREATE INDEX webhook_delivery_due ON webhook_delivery (next_at) WHERE state = 'pending';
CREATE INDEX webhook_delivery_of ON webhook_delivery (webhook_id, created_at);

CREATE TABLE idempotency (
    key TEXT NOT NULL,
    token_id TEXT NOT NULL,
    request BLOB NOT NULL,
    status INTEGER NOT NULL,
    response TEXT NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (token_id, key)
) WITHOUT ROWID;
