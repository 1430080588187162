-- +goose Up
CREATE TABLE operations (
    id        TEXT PRIMARY KEY,
    verb      TEXT NOT NULL,
    request   BYTEA NOT NULL,
    usr       TEXT NOT NULL,
    surface   TEXT NOT NULL,
    client    TEXT NOT NULL,
    token     TEXT NOT NULL,
    scopes    TEXT NOT NULL,
    idem      TEXT NOT NULL,
    idem_hash BYTEA,
    state     TEXT NOT NULL,
    created   BIGINT NOT NULL,
    ended     BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    events    BIGINT NOT NULL
);
CREATE UNIQUE INDEX operations_idem ON operations (usr, token, idem) WHERE idem <> '';
CREATE INDEX operations_state ON operations (state, ended);
CREATE TABLE tasks (
    id        TEXT PRIMARY KEY,
    operation TEXT NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
    number    BIGINT NOT NULL,
    verb      TEXT NOT NULL,
    target    TEXT NOT NULL,
    session   TEXT NOT NULL,
    state     TEXT NOT NULL,
    process   TEXT NOT NULL,
    claim     TEXT NOT NULL,
    slot      BIGINT NOT NULL,
    attempt   BIGINT NOT NULL,
    queue     TEXT NOT NULL,
    job       BIGINT NOT NULL,
    offered   BIGINT NOT NULL,
    created   BIGINT NOT NULL,
    started   BIGINT NOT NULL,
    ended     BIGINT NOT NULL,
    result    BYTEA,
    output    BYTEA,
    truncated BIGINT NOT NULL,
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
    seq       BIGINT NOT NULL,
    at        BIGINT NOT NULL,
    task      TEXT NOT NULL,
    kind      TEXT NOT NULL,
    state     TEXT NOT NULL,
    data      BYTEA,
    PRIMARY KEY (operation, seq)
);
CREATE TABLE processes (
    id      TEXT PRIMARY KEY,
    host    TEXT NOT NULL,
    pid     BIGINT NOT NULL,
    started BIGINT NOT NULL,
    beat    BIGINT NOT NULL,
    alive   BIGINT NOT NULL,
    pubkey  BYTEA
);
CREATE TABLE warmth (
    target  TEXT PRIMARY KEY,
    process TEXT NOT NULL,
    at      BIGINT NOT NULL
);

-- +goose Down
DROP TABLE warmth;
DROP TABLE processes;
DROP TABLE events;
DROP TABLE tasks;
DROP TABLE operations;
