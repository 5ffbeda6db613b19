-- +goose Up
-- smarthosts and static next hops, backup domains, sending limits.
SELECT 1;
