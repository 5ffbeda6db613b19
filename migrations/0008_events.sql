-- +goose Up
-- What happened to each message (trace), the webhooks that tell others of it,
-- and the addresses that nothing is sent to.

-- Events lie in partitions of a day (UTC), made ahead and dropped whole when
-- their time is over: so keeping a month of them costs nothing but their
-- insertion. A row for which there is no partition goes to event_default, from
-- where the sweeper moves it: recording never fails for want of one.
--
-- Ids of messages begin with the time, so the one index that every event pays
-- for grows at its right edge; it finds a message's events in order, and lists
-- messages by age. Those on addresses and the Message-ID are built on a
-- partition when its day is over, in bulk, at a tenth of the cost; the days that
-- are not over are scanned.
CREATE SEQUENCE event_id;
CREATE TABLE event (
  id         bigint NOT NULL DEFAULT nextval('event_id'),
  at         timestamptz NOT NULL,
  account_id bigint NOT NULL DEFAULT 0,               -- who submitted the message; 0: nobody did
  size       bigint NOT NULL DEFAULT 0,               -- octets
  duration   bigint NOT NULL DEFAULT 0,               -- nanoseconds
  code       int NOT NULL DEFAULT 0,                  -- of the reply; 0: there was none
  kind       text NOT NULL,
  message    text NOT NULL DEFAULT '',                -- the id in the client's reply
  header_id  text NOT NULL DEFAULT '',                -- the Message-ID field
  sender     text NOT NULL DEFAULT '',                -- reverse-path
  recipient  text NOT NULL DEFAULT '',
  subject    text NOT NULL DEFAULT '',
  remote     text NOT NULL DEFAULT '',
  enhanced   text NOT NULL DEFAULT '',
  text       text NOT NULL DEFAULT '',
  tls        text NOT NULL DEFAULT '',
  node       text NOT NULL DEFAULT '') PARTITION BY RANGE (at);
CREATE INDEX event_message ON event (message, id);
CREATE INDEX event_account ON event (account_id, id) WHERE account_id <> 0;
CREATE TABLE event_default PARTITION OF event DEFAULT;

-- +goose StatementBegin
DO $$
DECLARE
  day date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
  FOR i IN 0..3 LOOP
    EXECUTE format('CREATE TABLE %I PARTITION OF event FOR VALUES FROM (%L) TO (%L)', 'event_' || to_char(day + i, 'YYYYMMDD'),
      (day + i)::text || ' 00:00:00+00', (day + i + 1)::text || ' 00:00:00+00');
  END LOOP;
END $$;
-- +goose StatementEnd

-- Who wants to be told. What a hook is owed is written with the events, in the
-- same statement; without hooks that costs nothing.
CREATE TABLE hook (
  id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id    bigint REFERENCES account ON DELETE CASCADE, -- only of what it submitted; NULL: of all mail
  url           text NOT NULL,
  kinds         text[] NOT NULL,
  secret        bytea NOT NULL,                       -- sealed under the site's key
  allow_private boolean NOT NULL DEFAULT false,       -- it may be in a private network
  created_at    timestamptz NOT NULL DEFAULT now(),
  disabled_at   timestamptz, disabled_why text NOT NULL DEFAULT '',
  failures      int NOT NULL DEFAULT 0,               -- rounds in a row in which nothing was taken
  failing_since timestamptz,
  blocked_until timestamptz,                          -- after some such rounds
  succeeded_at  timestamptz);                         -- about

CREATE TABLE hook_delivery (
  hook_id     bigint NOT NULL,                        -- no foreign key: it would lock the hook with each event
  event_id    bigint NOT NULL,
  event_at    timestamptz NOT NULL,                   -- says which partition
  message     text NOT NULL,                          -- and where in its index
  created_at  timestamptz NOT NULL DEFAULT now(),
  next_at     timestamptz NOT NULL DEFAULT now(),     -- not before; while an attempt is made, when others may take it over
  lease       bigint,                                 -- whose attempt: random
  attempts    int NOT NULL DEFAULT 0,
  tried_at    timestamptz,
  code        int NOT NULL DEFAULT 0,
  error       text NOT NULL DEFAULT '',
  given_up_at timestamptz,
  PRIMARY KEY (hook_id, event_id));
CREATE INDEX hook_delivery_due ON hook_delivery (hook_id, next_at) WHERE given_up_at IS NULL;
ALTER TABLE hook_delivery SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

-- Addresses that nothing is sent to by the HTTP API, for one account or for all.
CREATE TABLE suppression (
  id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  address    text NOT NULL,                           -- lower case, its domain in A-labels
  account_id bigint REFERENCES account ON DELETE CASCADE, -- NULL: the whole site
  list       text NOT NULL DEFAULT '',                -- only mail of this list; empty: all
  reason     text NOT NULL,                           -- bounced, complained, unsubscribed, manual
  note       text NOT NULL DEFAULT '',
  message    text NOT NULL DEFAULT '',                -- that led to it
  added_at   timestamptz NOT NULL DEFAULT now(),
  UNIQUE NULLS NOT DISTINCT (address, account_id, list));
