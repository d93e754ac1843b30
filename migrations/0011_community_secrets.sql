-- Secrets of communities: what workflows send in their requests, and nobody reads.
--
-- A ciphertext is bound to the whole of its row but the times (AES-GCM with associated data), so a
-- row that is moved to another community, renamed, or given more hosts cannot be opened any more.

CREATE TABLE community_secrets (
    community_id  bigint NOT NULL,
    name          text NOT NULL CHECK (name ~ '^[A-Za-z][A-Za-z0-9_]{0,63}$'),
    ciphertext    bytea NOT NULL,
    key_id        text NOT NULL,
    allowed_hosts text[] NOT NULL CHECK (cardinality(allowed_hosts) > 0),
    created_at    timestamptz NOT NULL DEFAULT now(),
    created_by    bigint NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    updated_by    bigint NOT NULL,
    PRIMARY KEY (community_id, name)
);

-- For rotation, which looks for what is under another key.
CREATE INDEX community_secrets_by_key ON community_secrets (key_id);
