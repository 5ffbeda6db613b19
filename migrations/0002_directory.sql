-- +goose Up
-- Who is here: domains, aliases, credentials, and what the login throttle
-- remembers. Accounts themselves are in 0001: the mailstore hangs on them.
-- Addresses are folded (lower case, NFC; domains as A-labels) by the directory
-- package before they come here.

CREATE TABLE domain (
  name       text PRIMARY KEY,
  catch_all  text,                                    -- where unknown local parts go; NULL: refused
  postmaster text,                                    -- where postmaster@ and abuse@ go unless they exist by name (RFC 2142)
  created_at timestamptz NOT NULL DEFAULT now());

CREATE TABLE alias (
  address    text PRIMARY KEY,
  domain     text NOT NULL REFERENCES domain ON DELETE CASCADE,
  targets    text[] NOT NULL CHECK (cardinality(targets) BETWEEN 1 AND 1000),
  created_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX alias_domain ON alias (domain);

-- The accounts of a domain; the first of them is its postmaster of last resort.
CREATE INDEX account_domain ON account (split_part(address, '@', 2), id);

CREATE SEQUENCE credential_epoch;
CREATE TABLE credential (
  account_id       bigint PRIMARY KEY REFERENCES account ON DELETE CASCADE,
  epoch            bigint NOT NULL DEFAULT nextval('credential_epoch'), -- new with every change: ends sessions and remembered logins
  argon2id         text,                              -- PHC string; NULL: nobody can log in
  scram_salt       bytea,
  scram_iterations int,
  scram_stored_key bytea,
  scram_server_key bytea,
  changed_at       timestamptz NOT NULL DEFAULT now());

-- Failed logins, halved every ten minutes, counted for a client's address
-- block, for an account's name, and for the two together. Keys are keyed hashes:
-- what strangers type is not kept. Losing the table in a crash harms nobody.
CREATE UNLOGGED TABLE login_failure (
  key          bytea PRIMARY KEY,
  n            real NOT NULL,
  at           timestamptz NOT NULL,
  banned_until timestamptz);
CREATE INDEX login_failure_at ON login_failure (at);

-- Address blocks from which an account's owner has logged in: a guesser
-- elsewhere does not slow them.
CREATE TABLE login_known (
  pair       bytea PRIMARY KEY,
  account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
  at         timestamptz NOT NULL);
CREATE INDEX login_known_account ON login_known (account_id, at);
