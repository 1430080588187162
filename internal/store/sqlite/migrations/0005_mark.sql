-- +goose Up
-- What the last change wrote, so that it finds itself again.
ALTER TABLE sessions ADD COLUMN mark TEXT NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE sessions DROP COLUMN mark;
