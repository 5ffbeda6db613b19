-- +goose Up
-- trace, webhooks, suppression.
SELECT 1;
