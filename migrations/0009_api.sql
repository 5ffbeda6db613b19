-- +goose Up
-- keys of the HTTP API, idempotency.
SELECT 1;
