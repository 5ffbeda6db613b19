-- +goose Up
-- Which secret key the site's secrets are sealed under, so that a node with
-- another one is told so at its start, and not by what it cannot open.

CREATE TABLE site_key (
  one         boolean PRIMARY KEY DEFAULT true CHECK (one),
  fingerprint bytea NOT NULL,                         -- of the key; says nothing about it
  local_key   bytea);                                 -- the key itself, of a local server: its nodes agree on it here. NULL: a site's
