-- +goose Up
CREATE TABLE audit_chains (
    id     TEXT PRIMARY KEY,
    host   TEXT NOT NULL,
    pubkey BYTEA NOT NULL
);
CREATE TABLE audit_lines (
    chain TEXT NOT NULL,
    seq   BIGINT NOT NULL,
    line  BYTEA NOT NULL,
    hash  TEXT NOT NULL,
    PRIMARY KEY (chain, seq)
);
CREATE TABLE audit_statements (
    signer    TEXT NOT NULL,
    n         BIGINT NOT NULL,
    chain     TEXT NOT NULL,
    seq       BIGINT NOT NULL,
    hash      TEXT NOT NULL,
    at        BIGINT NOT NULL,
    prev      TEXT NOT NULL,
    signature BYTEA NOT NULL,
    PRIMARY KEY (signer, n)
);

-- +goose Down
DROP TABLE audit_statements;
DROP TABLE audit_lines;
DROP TABLE audit_chains;
