-- +goose Up
CREATE TABLE operations (
    id        TEXT PRIMARY KEY,
    verb      TEXT NOT NULL,
    request   BLOB NOT NULL,
    usr       TEXT NOT NULL,
    surface   TEXT NOT NULL,
    client    TEXT NOT NULL,
    token     TEXT NOT NULL,
    scopes    TEXT NOT NULL,
    idem      TEXT NOT NULL,
    idem_hash BLOB,
    state     TEXT NOT NULL,
    created   INTEGER NOT NULL,
    ended     INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    events    INTEGER NOT NULL
);
CREATE UNIQUE INDEX operations_idem ON operations (usr, token, idem) WHERE idem <> '';
CREATE INDEX operations_state ON operations (state, ended);
CREATE TABLE tasks (
    id        TEXT PRIMARY KEY,
    operation TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    number    INTEGER NOT NULL,
    verb      TEXT NOT NULL,
    target    TEXT NOT NULL,
    session   TEXT NOT NULL,
    state     TEXT NOT NULL,
    process   TEXT NOT NULL,
    claim     TEXT NOT NULL,
    slot      INTEGER NOT NULL,
    attempt   INTEGER NOT NULL,
    queue     TEXT NOT NULL,
    job       INTEGER NOT NULL,
    offered   INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    started   INTEGER NOT NULL,
    ended     INTEGER NOT NULL,
    result    BLOB,
    output    BLOB,
    truncated INTEGER NOT NULL,
    kind      TEXT NOT NULL,
    error     TEXT NOT NULL
);
CREATE UNIQUE INDEX tasks_operation ON tasks (operation, number);
-- The places of a target: 0 for what changes it, the others for the rest.
CREATE UNIQUE INDEX tasks_place ON tasks (target, slot) WHERE state = 'running';
CREATE INDEX tasks_queued ON tasks (created, id) WHERE state = 'queued';
CREATE INDEX tasks_process ON tasks (process) WHERE state = 'running';
CREATE TABLE events (
    operation TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    seq       INTEGER NOT NULL,
    at        INTEGER NOT NULL,
    task      TEXT NOT NULL,
    kind      TEXT NOT NULL,
    state     TEXT NOT NULL,
    data      BLOB,
    PRIMARY KEY (operation, seq)
);
CREATE TABLE processes (
    id      TEXT PRIMARY KEY,
    host    TEXT NOT NULL,
    pid     INTEGER NOT NULL,
    started INTEGER NOT NULL,
    beat    INTEGER NOT NULL,
    alive   INTEGER NOT NULL,
    pubkey  BLOB
);
CREATE TABLE warmth (
    target  TEXT PRIMARY KEY,
    process TEXT NOT NULL,
    at      INTEGER NOT NULL
);

-- +goose Down
DROP TABLE warmth;
DROP TABLE processes;
DROP TABLE events;
DROP TABLE tasks;
DROP TABLE operations;
