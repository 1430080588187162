-- +goose Up
ALTER TABLE sessions ADD COLUMN client TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sessions DROP COLUMN client;
