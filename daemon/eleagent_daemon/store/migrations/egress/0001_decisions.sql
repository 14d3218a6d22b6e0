BEGIN;
CREATE TABLE read_up_to (
    session TEXT PRIMARY KEY,
    seq     INTEGER NOT NULL,
    owner   TEXT NOT NULL,
    sealed  INTEGER NOT NULL
) STRICT;
CREATE TABLE decisions (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    session     TEXT NOT NULL REFERENCES read_up_to (session) ON DELETE CASCADE,
    seq         INTEGER NOT NULL,
    ts          TEXT NOT NULL,
    door        TEXT NOT NULL,
    allowed     INTEGER NOT NULL,
    rule        TEXT NOT NULL,
    host        TEXT NOT NULL,
    asked       TEXT NOT NULL,
    address     TEXT NOT NULL,
    reason      TEXT NOT NULL,
    bytes_up    INTEGER NOT NULL,
    bytes_down  INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    count       INTEGER NOT NULL,
    UNIQUE (session, seq)
) STRICT;
CREATE INDEX decisions_host ON decisions (host);
PRAGMA user_version = 1;
COMMIT;
