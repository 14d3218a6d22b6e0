BEGIN;
ALTER TABLE usage RENAME TO usage_before;
CREATE TABLE usage (
    session            TEXT NOT NULL,
    model              TEXT NOT NULL,
    day                TEXT NOT NULL,
    user               TEXT NOT NULL,
    api_key            TEXT NOT NULL,
    project            TEXT NOT NULL,
    agent              TEXT NOT NULL,
    scripted           INTEGER NOT NULL,
    requests           INTEGER NOT NULL,
    turns              INTEGER NOT NULL,
    input_tokens       INTEGER NOT NULL,
    output_tokens      INTEGER NOT NULL,
    cache_read_tokens  INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost_microusd      INTEGER NOT NULL,
    unpriced_tokens    INTEGER NOT NULL,
    estimated          INTEGER NOT NULL,
    PRIMARY KEY (session, model, day)
) STRICT;
INSERT INTO usage SELECT * FROM usage_before;
DROP TABLE usage_before;
CREATE INDEX usage_user ON usage (user, day);
CREATE INDEX usage_project ON usage (project, day);
CREATE INDEX usage_day ON usage (day);
PRAGMA user_version = 4;
COMMIT;
