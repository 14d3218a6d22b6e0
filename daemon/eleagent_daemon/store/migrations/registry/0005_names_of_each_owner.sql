BEGIN;
DROP INDEX sessions_live_name;
CREATE UNIQUE INDEX sessions_live_name ON sessions (organization, owner, name) WHERE live = 1;
PRAGMA user_version = 5;
COMMIT;
