BEGIN;
CREATE TABLE approvals (
    id       TEXT PRIMARY KEY,
    session  TEXT NOT NULL REFERENCES sessions (key),
    kind     TEXT NOT NULL,
    digest   TEXT NOT NULL,
    state    TEXT NOT NULL,
    delivery TEXT NOT NULL,
    asked    TEXT NOT NULL,
    approval TEXT NOT NULL
) STRICT;
CREATE INDEX approvals_open ON approvals (asked) WHERE state = 'open';
CREATE INDEX approvals_pending ON approvals (session) WHERE delivery = 'pending';
CREATE INDEX approvals_session ON approvals (session, kind, digest);
CREATE TABLE grants (
    id      TEXT PRIMARY KEY,
    scope   TEXT NOT NULL,
    created TEXT NOT NULL,
    revoked TEXT,
    "grant" TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX grants_scope ON grants (scope) WHERE revoked IS NULL;
PRAGMA user_version = 2;
COMMIT;
