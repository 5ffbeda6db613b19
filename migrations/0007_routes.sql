-- +goose Up
-- How mail leaves: relays (smarthosts, static and LMTP next hops) and which
-- mail takes them; domains for which this site is a backup MX; what accounts
-- may send.

-- version rises with every change of relay, route and backup_domain: a process
-- that holds them in memory asks for it alone.
CREATE TABLE routing (
  one      boolean PRIMARY KEY DEFAULT true CHECK (one),
  version  bigint NOT NULL DEFAULT 1,
  fallback text);                                     -- relay for what cannot go out directly
INSERT INTO routing DEFAULT VALUES;

CREATE TABLE relay (
  name       text PRIMARY KEY,
  hosts      text[] NOT NULL CHECK (cardinality(hosts) BETWEEN 1 AND 20), -- "name", "name:port", "[address]:port"; tried in order
  lmtp       boolean NOT NULL DEFAULT false,
  tls        text NOT NULL CHECK (tls IN ('opportunistic', 'verified', 'implicit', 'never')),
  username   text NOT NULL DEFAULT '',
  password   bytea,                                   -- sealed under the site's key
  source     text[] NOT NULL DEFAULT '{}',            -- local addresses to connect from
  socks5     text NOT NULL DEFAULT '',
  helo       text NOT NULL DEFAULT '',
  fallback   text REFERENCES relay,
  created_at timestamptz NOT NULL DEFAULT now());
ALTER TABLE routing ADD FOREIGN KEY (fallback) REFERENCES relay;

CREATE TABLE route (
  side    text NOT NULL CHECK (side IN ('to', 'from', 'all')),
  pattern text NOT NULL,                              -- domain, *.domain, sender's address; empty for all
  relay   text REFERENCES relay,                      -- NULL: directly, by MX records
  source  text[] NOT NULL DEFAULT '{}',               -- how directly; nothing for a relay
  socks5  text NOT NULL DEFAULT '',
  helo    text NOT NULL DEFAULT '',
  PRIMARY KEY (side, pattern));
CREATE INDEX route_relay ON route (relay);

-- Domains that live elsewhere, for which mail is taken while they are away.
CREATE TABLE backup_domain (
  name        text PRIMARY KEY,
  hosts       text[] NOT NULL DEFAULT '{}',           -- where it lives; empty: its MX records before ours
  recipients  text NOT NULL CHECK (recipients IN ('callout', 'list', 'any')),
  when_down   text NOT NULL CHECK (when_down IN ('defer', 'accept')),
  known_for   interval NOT NULL,                      -- how long a callout's yes is believed
  unknown_for interval NOT NULL,                      -- and its no
  created_at  timestamptz NOT NULL DEFAULT now());

CREATE TABLE backup_recipient (
  domain  text NOT NULL REFERENCES backup_domain ON DELETE CASCADE,
  address text PRIMARY KEY);
CREATE INDEX backup_recipient_domain ON backup_recipient (domain);

-- What the primary said of an address last.
CREATE TABLE backup_callout (
  address    text PRIMARY KEY,
  domain     text NOT NULL REFERENCES backup_domain ON DELETE CASCADE,
  known      boolean NOT NULL,
  reply      text NOT NULL DEFAULT '',
  checked_at timestamptz NOT NULL DEFAULT now());
CREATE INDEX backup_callout_domain ON backup_callout (domain);
CREATE INDEX backup_callout_checked ON backup_callout (checked_at);

-- What accounts may send; a negative limit is none.
CREATE TABLE sending_default (
  one    boolean PRIMARY KEY DEFAULT true CHECK (one),
  hourly int NOT NULL DEFAULT 300,                    -- recipients
  daily  int NOT NULL DEFAULT 2000);
INSERT INTO sending_default DEFAULT VALUES;

CREATE TABLE sending_policy (                         -- of accounts that differ
  account_id  bigint PRIMARY KEY REFERENCES account ON DELETE CASCADE,
  hourly      int, daily int,                         -- NULL: the default
  blocked_at  timestamptz,                            -- it may read, not send
  blocked_why text NOT NULL DEFAULT '',
  notice_at   timestamptz);                           -- the postmaster is to be told from then on; NULL: has been, or need not
CREATE INDEX sending_policy_notice ON sending_policy (notice_at) WHERE notice_at IS NOT NULL;

-- Rolling windows in one row, so that one statement checks and counts. Losing
-- them in a crash harms nobody, and without a log record a submission does not
-- wait for the disk once more.
CREATE UNLOGGED TABLE sending_count (
  account_id bigint PRIMARY KEY REFERENCES account ON DELETE CASCADE,
  five       bigint NOT NULL,                         -- number since 1970 of the five minutes counted last
  hour       bigint NOT NULL,                         -- and of the hour
  fives      int[] NOT NULL,                          -- recipients in the last 12 times five minutes, oldest first
  hours      int[] NOT NULL,                          -- in the last 24 hours
  refused    int[] NOT NULL,                          -- tries over the limit, by five minutes
  delivered  int[] NOT NULL,                          -- outcomes, by five minutes
  failed     int[] NOT NULL,
  granted    boolean NOT NULL DEFAULT true            -- the last answer
) WITH (fillfactor = 50);
