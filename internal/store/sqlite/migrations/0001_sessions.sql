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
    script   BLOB,
    plan     BLOB NOT NULL,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    message  TEXT NOT NULL,
    output   BLOB
);
CREATE INDEX sessions_created ON sessions (created);
CREATE INDEX sessions_status ON sessions (status, updated);
CREATE TABLE decisions (
    id       TEXT PRIMARY KEY,
    session  TEXT NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    approval BLOB NOT NULL,
    created  INTEGER NOT NULL
);
CREATE INDEX decisions_session ON decisions (session, created);

-- +goose Down
DROP TABLE decisions;
DROP TABLE sessions;
