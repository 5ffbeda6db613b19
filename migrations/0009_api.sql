-- +goose Up
-- The HTTP API: who may use it, and what was answered to whom, so that a
-- request whose answer was lost can be asked again.

CREATE TABLE api_key (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
  name       text NOT NULL DEFAULT '',                -- for people
  hash       bytea NOT NULL UNIQUE,                   -- SHA-256 of the key: 256 random bits need no slow hash
  hint       text NOT NULL,                           -- its first octets, for people to tell keys apart
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz,                             -- NULL: never
  used_at    timestamptz)                             -- to the minute; NULL: never
  WITH (fillfactor = 70);
CREATE INDEX api_key_account ON api_key (account_id);

-- A request that came with an Idempotency-Key. Who works on it holds the claim;
-- each message of it that is accepted adds its answer in the transaction that
-- accepts it, and only under the claim.
CREATE TABLE api_request (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id  bigint NOT NULL REFERENCES account ON DELETE CASCADE,
  key         text NOT NULL,
  hash        bytea NOT NULL,                         -- SHA-256 of what was asked
  items       int NOT NULL,                           -- messages asked for
  results     int NOT NULL DEFAULT 0,                 -- of them accepted
  claim       bigint NOT NULL,                        -- random: a holder that was overtaken has lost it
  lease_until timestamptz NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  UNIQUE (account_id, key))
  WITH (fillfactor = 70);
CREATE INDEX api_request_created ON api_request (created_at);

CREATE TABLE api_result (
  request_id bigint NOT NULL REFERENCES api_request ON DELETE CASCADE,
  n          int NOT NULL,                            -- 0, 1, … within the request
  answer     bytea NOT NULL,                          -- JSON, given again octet for octet
  PRIMARY KEY (request_id, n));
