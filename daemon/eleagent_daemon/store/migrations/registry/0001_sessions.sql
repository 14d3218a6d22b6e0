BEGIN;
CREATE TABLE sessions (
    key          TEXT PRIMARY KEY,
    organization TEXT NOT NULL,
    name         TEXT NOT NULL,
    owner        TEXT NOT NULL,
    state        TEXT NOT NULL,
    live         INTEGER NOT NULL,
    uid          INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    created      TEXT NOT NULL,
    session      TEXT NOT NULL,
    request      TEXT NOT NULL,
    caller       TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX sessions_live_uid ON sessions (uid) WHERE live = 1;
CREATE UNIQUE INDEX sessions_live_name ON sessions (organization, name) WHERE live = 1;
CREATE INDEX sessions_created ON sessions (created);
CREATE TABLE idempotency (
    owner   TEXT NOT NULL,
    token   TEXT NOT NULL,
    session TEXT NOT NULL REFERENCES sessions (key),
    PRIMARY KEY (owner, token)
) STRICT;
PRAGMA user_version = 1;
COMMIT;
