-- +goose Up
-- The queue: what leaves this site. Claiming is by destination, the one served
-- longest ago first, so that none of them stands in the way of the others. A
-- worker claims a destination through a session with a lease; every result is
-- fenced by the session's id.

CREATE TABLE queue_message (
  blob_id      bigint NOT NULL,                       -- its body, shared with the mailstore: a row here keeps it from collection
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  ref          text NOT NULL DEFAULT '',              -- the id in the log, the client's reply and the Received field
  account_id   bigint,                                -- who submitted it; NULL: forwarded
  reverse_path text NOT NULL DEFAULT '',              -- empty: the null one
  prefix       bytea NOT NULL DEFAULT '',             -- sent before the body: Delivered-To of a forward, Received
  size         bigint NOT NULL DEFAULT 0,             -- octets of prefix and body
  body_type    smallint NOT NULL DEFAULT 0,           -- 0 7BIT, 1 8BITMIME, 2 BINARYMIME
  smtputf8     boolean NOT NULL DEFAULT false,
  requiretls   boolean NOT NULL DEFAULT false,        -- RFC 8689
  dsn_ret      text, dsn_envid text,                  -- RFC 3461
  deliver_by   timestamptz, by_mode text,             -- RFC 2852
  priority     smallint NOT NULL DEFAULT 0,           -- RFC 6710
  held         boolean NOT NULL DEFAULT false,        -- by the operator
  warned_at    timestamptz,                           -- of a delay
  created_at   timestamptz NOT NULL DEFAULT now(),
  expires_at   timestamptz);                          -- then it bounces; NULL: by the schedule
CREATE INDEX queue_message_blob ON queue_message (blob_id);

CREATE TABLE queue_rcpt (
  message_id  bigint NOT NULL REFERENCES queue_message ON DELETE CASCADE,
  n           int NOT NULL,                           -- 1, 2, … within the message
  address     text NOT NULL,
  original    text NOT NULL DEFAULT '',               -- the address that was forwarded, or ORCPT
  destination text NOT NULL,                          -- domain in A-labels, or an address literal
  notify      smallint NOT NULL DEFAULT 0,            -- RFC 3461: bits 1 NEVER, 2 SUCCESS, 4 FAILURE, 8 DELAY; 0: not said
  state       smallint NOT NULL DEFAULT 0,            -- 0 waiting, 1 delivered, 2 failed
  next_at     timestamptz NOT NULL DEFAULT now(),     -- not before
  attempts    int NOT NULL DEFAULT 0,
  session_id  bigint,                                 -- that is at it
  code        int, enhanced text, reply text,         -- what the next hop said last
  PRIMARY KEY (message_id, n));
CREATE INDEX queue_rcpt_due ON queue_rcpt (destination, next_at) WHERE state = 0;

CREATE TABLE queue_destination (
  name          text PRIMARY KEY,
  next_at       timestamptz,                          -- when the first recipient is due; NULL: nothing waits
  concurrency   int NOT NULL DEFAULT 2,               -- sessions at once, adapted to what it bears
  last_served   timestamptz NOT NULL DEFAULT '-infinity',
  backoff_until timestamptz,                          -- connections fail: leave it alone
  failures      int NOT NULL DEFAULT 0);              -- in a row
CREATE INDEX queue_destination_served ON queue_destination (last_served) WHERE next_at IS NOT NULL;

CREATE TABLE queue_session (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  destination text NOT NULL REFERENCES queue_destination ON DELETE CASCADE,
  node        text NOT NULL,
  started_at  timestamptz NOT NULL DEFAULT now(),
  lease_until timestamptz NOT NULL);
CREATE INDEX queue_session_destination ON queue_session (destination);

CREATE TABLE queue_attempt (                          -- what was tried, for trace and bounces
  message_id bigint NOT NULL REFERENCES queue_message ON DELETE CASCADE,
  n          int NOT NULL,
  at         timestamptz NOT NULL DEFAULT now(),
  host       text NOT NULL DEFAULT '', code int, enhanced text, reply text,
  PRIMARY KEY (message_id, n, at));
