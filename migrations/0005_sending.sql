-- +goose Up
-- What the scheduler of the queue needs beside 0003. What was tried stands in
-- the event table, not here. A recipient's row goes when its outcome is final,
-- the message's with the last of them.

DROP TABLE queue_attempt;

ALTER TABLE queue_message
  ADD via        text NOT NULL DEFAULT '',            -- the address here that forwards it; empty: none
  ADD recipients int NOT NULL DEFAULT 0,              -- how many there were at first
  ADD hold_until timestamptz,                         -- RFC 4865; its time to bounce counts from then on
  DROP warned_at, DROP expires_at;

-- No foreign keys here: they cost a lookup and a lock for each row, and what
-- removes a message or a session removes or releases its recipients itself.
ALTER TABLE queue_rcpt
  DROP CONSTRAINT queue_rcpt_message_id_fkey,
  ADD priority    smallint NOT NULL DEFAULT 0,        -- the message's, for the index
  ADD held        boolean NOT NULL DEFAULT false,     -- by an operator; its deadline does not count meanwhile
  ADD warned      boolean NOT NULL DEFAULT false,     -- the sender was told of the delay
  ADD doomed      text,                               -- an operator's words: it bounces with them
  ADD deadline_at timestamptz,                        -- something is due beside trying: a delay notice, a by-time, the bounce
  ADD tried_at    timestamptz,                        -- the last attempt; what came of it stands in host, code, enhanced, reply
  ADD host        text NOT NULL DEFAULT '';
UPDATE queue_rcpt r SET priority = m.priority, held = m.held, deadline_at = m.created_at + interval '4 hours' FROM queue_message m WHERE m.id = r.message_id;
DELETE FROM queue_rcpt WHERE state <> 0;
UPDATE queue_message m SET recipients = (SELECT count(*) FROM queue_rcpt r WHERE r.message_id = m.id);
ALTER TABLE queue_message DROP held;
DROP INDEX queue_rcpt_due;
ALTER TABLE queue_rcpt DROP state;
CREATE INDEX queue_rcpt_due ON queue_rcpt (destination, priority DESC, next_at) WHERE session_id IS NULL AND NOT held;
CREATE INDEX queue_rcpt_deadline ON queue_rcpt (deadline_at) WHERE session_id IS NULL AND NOT held;
CREATE INDEX queue_rcpt_session ON queue_rcpt (session_id) WHERE session_id IS NOT NULL;

-- ready is a token: whoever adds work sets it, the one that claims the
-- destination takes it, and a session that ends leaves it where work is left.
-- So nobody has to look at the recipients to know where there are any.
ALTER TABLE queue_destination
  ADD ready    boolean NOT NULL DEFAULT true,
  ADD sessions int NOT NULL DEFAULT 0,                -- open now, on all nodes
  ADD tried_at timestamptz,                           -- a connection was last tried, in vain; what came of it:
  ADD host     text NOT NULL DEFAULT '', ADD code int, ADD enhanced text, ADD reply text;
DROP INDEX queue_destination_served;
CREATE INDEX queue_destination_ready ON queue_destination (last_served) WHERE ready AND backoff_until IS NULL AND sessions < concurrency;
CREATE INDEX queue_destination_next ON queue_destination (next_at) WHERE next_at IS NOT NULL;
UPDATE queue_destination SET next_at = NULL, backoff_until = NULL;

-- Sessions are named by random numbers: one from a sequence could be given out
-- twice around a crash, and a result of the first would pass for the second's.
ALTER TABLE queue_session DROP CONSTRAINT queue_session_destination_fkey, ALTER id DROP IDENTITY;

-- Small tables with a short life for each row.
ALTER TABLE queue_destination SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE queue_session SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE queue_rcpt SET (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE queue_message SET (autovacuum_vacuum_scale_factor = 0.05);
