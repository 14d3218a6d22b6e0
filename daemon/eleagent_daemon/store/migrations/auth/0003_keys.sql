BEGIN;
CREATE TABLE api_keys (
    id           TEXT PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organizations (id),
    user         TEXT NOT NULL REFERENCES users (id),
    note         TEXT NOT NULL,
    grp          TEXT NOT NULL,
    bounds       TEXT NOT NULL,
    hash         BLOB NOT NULL,
    pepper       TEXT NOT NULL,
    created      REAL NOT NULL,
    expires      REAL NOT NULL,
    used         REAL,
    revoked      REAL
) STRICT;
CREATE INDEX api_keys_live ON api_keys (organization) WHERE revoked IS NULL;
PRAGMA user_version = 3;
COMMIT;
