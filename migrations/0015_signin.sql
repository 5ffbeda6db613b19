-- +goose Up
-- How people sign in beside a password of their own: tokens of OpenID Connect
-- issuers, and links by which a password is set once. And what a mail program is
-- not told that the server can do.

CREATE TABLE issuer (
  name             text PRIMARY KEY,
  url              text NOT NULL UNIQUE,              -- the iss of its tokens
  audiences        text[] NOT NULL CHECK (cardinality(audiences) BETWEEN 1 AND 20),
  claim            text NOT NULL,                     -- names the account's address
  unverified       boolean NOT NULL DEFAULT false,    -- an email that the issuer has not verified will do
  domains          text[] NOT NULL DEFAULT '{}',      -- whose accounts it speaks for; empty: all
  algorithms       text[] NOT NULL DEFAULT '{}',      -- of signatures; empty: the usual ones
  scope            text NOT NULL DEFAULT '',          -- told to programs that come without a good token
  skew_seconds     int NOT NULL,
  introspect       boolean NOT NULL DEFAULT false,    -- ask for each token (RFC 7662), not: check its signature
  introspect_url   text NOT NULL DEFAULT '',          -- empty: as discovered
  client_id        text NOT NULL DEFAULT '',
  client_secret    bytea,                             -- sealed
  insecure         boolean NOT NULL DEFAULT false,    -- http will do
  created_at       timestamptz NOT NULL DEFAULT now());

CREATE TABLE capability_mask (
  account_id       bigint REFERENCES account ON DELETE CASCADE,  -- NULL: all
  client           text NOT NULL DEFAULT '',          -- pattern of the name in ID (RFC 2971), in lower case, * for any octets; '': every program
  capabilities     text[] NOT NULL CHECK (cardinality(capabilities) BETWEEN 1 AND 100),
  UNIQUE NULLS NOT DISTINCT (account_id, client),
  CHECK (account_id IS NOT NULL OR client <> ''));

-- Rises with every change of the two above, so that nodes read them again.
CREATE TABLE signin (
  one     boolean PRIMARY KEY DEFAULT true CHECK (one),
  version bigint NOT NULL DEFAULT 1);
INSERT INTO signin DEFAULT VALUES;

CREATE TABLE password_link (
  account_id       bigint PRIMARY KEY REFERENCES account ON DELETE CASCADE,  -- the latest is the only one
  hash             bytea NOT NULL UNIQUE,             -- SHA-256 of the token, which is nowhere kept
  expires_at       timestamptz NOT NULL,
  created_at       timestamptz NOT NULL DEFAULT now());
