-- +goose Up
-- DKIM keys, cached MTA-STS policies, TLS reports.
SELECT 1;
