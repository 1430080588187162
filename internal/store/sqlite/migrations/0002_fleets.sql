-- +goose Up
ALTER TABLE sessions ADD COLUMN fleet TEXT NOT NULL DEFAULT '';
ALTER TABLE sessions ADD COLUMN effect TEXT NOT NULL DEFAULT '';
CREATE INDEX sessions_fleet ON sessions (fleet) WHERE fleet <> '';

-- +goose Down
DROP INDEX sessions_fleet;
ALTER TABLE sessions DROP COLUMN effect;
ALTER TABLE sessions DROP COLUMN fleet;
