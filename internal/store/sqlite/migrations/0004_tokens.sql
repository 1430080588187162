-- +goose Up
CREATE TABLE tokens (
    id       TEXT PRIMARY KEY,
    name     TEXT NOT NULL,
    hash     BLOB NOT NULL,
    usr      TEXT NOT NULL,
    scopes   TEXT NOT NULL,
    selector TEXT NOT NULL,
    profiles TEXT NOT NULL,
    maker    TEXT NOT NULL,
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    revoked  INTEGER NOT NULL,
    used     INTEGER NOT NULL
);

-- +goose Down
DROP TABLE tokens;
