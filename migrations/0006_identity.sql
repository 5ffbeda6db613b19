-- +goose Up
-- DKIM keys, cached MTA-STS policies, TLS reports.

-- A generation of keys is made with its domain, or by a rotation. Which one signs
-- follows from the clock of the database alone: of each algorithm, the one with
-- the latest signs_at that has come. The one before it stays published for a
-- while, since its signatures are still on their way. A row outlives its private
-- key, so that a selector never comes back with another key.
CREATE TABLE dkim_key (
  domain     text NOT NULL REFERENCES domain ON DELETE CASCADE,
  selector   text NOT NULL,
  algorithm  text NOT NULL CHECK (algorithm IN ('rsa', 'ed25519')),
  public     bytea NOT NULL,                          -- as in p=: PKIX for RSA (RFC 6376 §3.6.1), 32 octets for Ed25519 (RFC 8463 §4)
  sealed     bytea,                                   -- PKCS #8, sealed under the secret key; NULL: erased
  created_at timestamptz NOT NULL DEFAULT now(),
  signs_at   timestamptz NOT NULL,
  retired_at timestamptz,                             -- by hand, before its time
  PRIMARY KEY (domain, selector));

-- Policies of other domains (RFC 8461 §3.3). A row without policy says that
-- the domain had none when it was asked.
CREATE TABLE sts_policy (
  domain     text PRIMARY KEY,
  id         text NOT NULL,                           -- of the TXT record that led to it
  policy     text NOT NULL,                           -- as fetched
  fetched_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL);
CREATE INDEX sts_policy_expires ON sts_policy (expires_at);

-- How TLS went, by recipient domain and day in UTC (RFC 8460); counted in
-- memory first, so that this is written some times a minute.
CREATE TABLE tls_result (
  day    date NOT NULL,
  domain text NOT NULL,
  key    bytea NOT NULL,                              -- hash of policy and failure
  policy text NOT NULL,                               -- JSON as in the report
  failure text NOT NULL,                              -- JSON as in the report, without its count; empty: sessions that succeeded
  n      bigint NOT NULL,
  PRIMARY KEY (day, domain, key));

-- Reports that are due or have been sent; these stay for a week, so that a late
-- result does not cause a second one.
CREATE TABLE tls_report (
  day      date NOT NULL,
  domain   text NOT NULL,
  next_at  timestamptz,                               -- NULL: done
  attempts int NOT NULL DEFAULT 0,
  served   text[] NOT NULL DEFAULT '{}',              -- addresses that have it
  PRIMARY KEY (day, domain));
CREATE INDEX tls_report_next ON tls_report (next_at) WHERE next_at IS NOT NULL;

-- Senders of forwarded mail that are too long for the sender rewriting scheme:
-- a token stands for them there.
CREATE TABLE srs_sender (
  token   text PRIMARY KEY,
  address text NOT NULL,
  at      timestamptz NOT NULL);                      -- last used, to the day
CREATE INDEX srs_sender_at ON srs_sender (at);
