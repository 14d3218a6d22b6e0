BEGIN;
CREATE TABLE logins (
    id           TEXT PRIMARY KEY,
    organization TEXT NOT NULL REFERENCES organizations (id),
    user         TEXT NOT NULL REFERENCES users (id),
    created      REAL NOT NULL,
    confirmed    REAL NOT NULL,
    seen         REAL NOT NULL,
    expires      REAL NOT NULL,
    address      TEXT NOT NULL,
    note         TEXT NOT NULL,
    refresh      BLOB NOT NULL,
    pepper       TEXT NOT NULL,
    ended        REAL,
    ended_why    TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX logins_live ON logins (organization) WHERE ended IS NULL;
CREATE TABLE used_refreshes (
    login   TEXT NOT NULL REFERENCES logins (id),
    refresh BLOB NOT NULL,
    PRIMARY KEY (login, refresh)
) STRICT;
CREATE TABLE attempts (
    account TEXT PRIMARY KEY,
    failed  INTEGER NOT NULL,
    last    REAL NOT NULL
) STRICT;
PRAGMA user_version = 2;
COMMIT;
