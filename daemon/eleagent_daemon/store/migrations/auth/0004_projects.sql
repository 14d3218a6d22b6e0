BEGIN;
CREATE TABLE projects (
    organization TEXT NOT NULL REFERENCES organizations (id),
    name         TEXT NOT NULL,
    project      TEXT NOT NULL,
    PRIMARY KEY (organization, name)
) STRICT;
PRAGMA user_version = 4;
COMMIT;
