-- +goose Up
CREATE TABLE limit_acts (
    key TEXT NOT NULL,
    at  BIGINT NOT NULL
);
CREATE INDEX limit_acts_key ON limit_acts (key, at);
CREATE TABLE limit_places (
    id     TEXT PRIMARY KEY,
    key    TEXT NOT NULL,
    holder TEXT NOT NULL,
    until  BIGINT NOT NULL
);
CREATE INDEX limit_places_key ON limit_places (key);
CREATE INDEX limit_places_holder ON limit_places (holder);

-- +goose Down
DROP TABLE limit_places;
DROP TABLE limit_acts;
