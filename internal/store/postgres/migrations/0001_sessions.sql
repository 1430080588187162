-- +goose Up
CREATE TABLE sessions (
    id       TEXT PRIMARY KEY,
    name     TEXT NOT NULL,
    note     TEXT NOT NULL,
    target   TEXT NOT NULL,
    host_key TEXT NOT NULL,
    status   TEXT NOT NULL,
    digest   TEXT NOT NULL,
    usr      TEXT NOT NULL,
    host     TEXT NOT NULL,
    surface  TEXT NOT NULL,
    script   BYTEA,
    plan     BYTEA NOT NULL,
    created  BIGINT NOT NULL,
    updated  BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    message  TEXT NOT NULL,
    output   BYTEA,
    fleet    TEXT NOT NULL,
    effect   TEXT NOT NULL,
    client   TEXT NOT NULL,
    mark     TEXT NOT NULL
);
CREATE INDEX sessions_created ON sessions (created);
CREATE INDEX sessions_status ON sessions (status, updated);
CREATE INDEX sessions_fleet ON sessions (fleet) WHERE fleet <> '';
CREATE TABLE decisions (
    id       TEXT PRIMARY KEY,
    session  TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    approval BYTEA NOT NULL,
    created  BIGINT NOT NULL
);
CREATE INDEX decisions_session ON decisions (session, created);
CREATE TABLE tokens (
    id       TEXT PRIMARY KEY,
    name     TEXT NOT NULL,
    hash     BYTEA NOT NULL,
    usr      TEXT NOT NULL,
    scopes   TEXT NOT NULL,
    selector TEXT NOT NULL,
    profiles TEXT NOT NULL,
    maker    TEXT NOT NULL,
    created  BIGINT NOT NULL,
    expires  BIGINT NOT NULL,
    revoked  BIGINT NOT NULL,
    used     BIGINT NOT NULL
);

-- +goose Down
DROP TABLE tokens;
DROP TABLE decisions;
DROP TABLE sessions;
