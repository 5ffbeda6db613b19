-- +goose Up
-- Which subscriptions CREATE made by itself, for clients that never subscribe.
-- One that does takes over: what it did not subscribe is taken back.

ALTER TABLE subscription ADD COLUMN implied boolean NOT NULL DEFAULT false;
