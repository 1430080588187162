-- +goose Up
CREATE TABLE audit_chains (
    id     TEXT PRIMARY KEY,
    host   TEXT NOT NULL,
    pubkey BLOB NOT NULL
);
CREATE TABLE audit_lines (
    chain TEXT NOT NULL,
    seq   INTEGER NOT NULL,
    line  BLOB NOT NULL,
    hash  TEXT NOT NULL,
    PRIMARY KEY (chain, seq)
);
CREATE TABLE audit_statements (
    signer    TEXT NOT NULL,
    n         INTEGER NOT NULL,
    chain     TEXT NOT NULL,
    seq       INTEGER NOT NULL,
    hash      TEXT NOT NULL,
    at        INTEGER NOT NULL,
    prev      TEXT NOT NULL,
    signature BLOB NOT NULL,
    PRIMARY KEY (signer, n)
);

-- +goose Down
DROP TABLE audit_statements;
DROP TABLE audit_lines;
DROP TABLE audit_chains;
