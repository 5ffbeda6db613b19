-- +goose Up
-- What the nodes of a site share about certificates: keys and chains, the
-- account at the authority, challenges that are being answered; and who orders.
-- Values are sealed under the site's secret key.

CREATE TABLE certificate_data (
  key      text COLLATE "C" PRIMARY KEY,              -- a path, its parts separated by slashes
  value    bytea NOT NULL,
  size     bigint NOT NULL,                           -- octets before it was sealed
  modified timestamptz NOT NULL DEFAULT now());

CREATE TABLE certificate_lock (
  name  text PRIMARY KEY,
  owner text NOT NULL,                                -- random, new with each lock
  until timestamptz NOT NULL);                        -- renewed while the owner lives
