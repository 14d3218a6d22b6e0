BEGIN;
CREATE TABLE organizations (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    created     TEXT NOT NULL,
    initialized TEXT
) STRICT;
CREATE TABLE users (
    id               TEXT PRIMARY KEY,
    name             TEXT NOT NULL UNIQUE,
    full_name        TEXT NOT NULL,
    state            TEXT NOT NULL,
    unix_uid         INTEGER,
    unix_user        TEXT NOT NULL,
    password         TEXT NOT NULL,
    password_changed TEXT,
    created          TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX users_unix_uid ON users (unix_uid) WHERE state <> 'removed';
CREATE TABLE memberships (
    organization TEXT NOT NULL REFERENCES organizations (id),
    user         TEXT NOT NULL REFERENCES users (id),
    role         TEXT NOT NULL,
    source       TEXT NOT NULL,
    PRIMARY KEY (organization, user)
) STRICT;
PRAGMA user_version = 1;
COMMIT;
