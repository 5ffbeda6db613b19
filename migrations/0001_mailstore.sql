-- +goose Up
-- The mailstore: immutable messages, tiny mutable state, a journal of changes,
-- bodies in chunks, and the account row that everything hangs on. The split
-- was measured before it was decided; columns may be added, it stays.

CREATE TABLE account (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  address text NOT NULL UNIQUE,
  disabled boolean NOT NULL DEFAULT false,
  quota_bytes bigint, quota_messages bigint,          -- NULL: no limit
  pop3_retention text NOT NULL DEFAULT 'delete' CHECK (pop3_retention IN ('delete', 'keep', 'archive', 'expire')),
  pop3_expire_days int,
  pop3_marks_seen boolean NOT NULL DEFAULT false,     -- RETR sets \Seen
  text_next bigint NOT NULL DEFAULT 0,                -- next number of an indexed text
  body_searched_at timestamptz,                       -- last body search: segments are built only for accounts that search
  uidvalidity_next bigint NOT NULL DEFAULT extract(epoch FROM now())::bigint, -- the next UIDVALIDITY to give: only rises
  created_at timestamptz NOT NULL DEFAULT now());

CREATE TABLE mailbox (                                -- the only contended row: counters and allocators
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
  name text NOT NULL, special_use smallint NOT NULL DEFAULT 0,
  deleted_at timestamptz,                             -- marked, swept after the grace period; its UIDVALIDITY never returns
  uidvalidity bigint NOT NULL, uidnext bigint NOT NULL DEFAULT 1,
  first_recent bigint NOT NULL DEFAULT 1,             -- UIDs from here are \Recent to the next session that selects read-write
  modseq bigint NOT NULL DEFAULT 1,                   -- HIGHESTMODSEQ
  change_floor bigint NOT NULL DEFAULT 1,             -- the journal is complete above this
  n_msgs bigint NOT NULL DEFAULT 0, n_unseen bigint NOT NULL DEFAULT 0,
  n_deleted bigint NOT NULL DEFAULT 0, n_bytes bigint NOT NULL DEFAULT 0,
  keywords text[] NOT NULL DEFAULT '{}'               -- ordinal -> bit 8+i of msg_state.flags; '' is a free slot
) WITH (fillfactor=50, autovacuum_vacuum_scale_factor=0, autovacuum_vacuum_threshold=1000);
CREATE UNIQUE INDEX mailbox_name ON mailbox (account_id, name) WHERE deleted_at IS NULL;
CREATE INDEX mailbox_deleted ON mailbox (deleted_at) WHERE deleted_at IS NOT NULL;

-- The highest UIDVALIDITY that a name had before its mailbox was deleted or
-- renamed: what takes the name next gets a higher one.
CREATE TABLE mailbox_past (account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
  name text NOT NULL, uidvalidity bigint NOT NULL, PRIMARY KEY (account_id, name));

CREATE TABLE subscription (account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
  name text NOT NULL, PRIMARY KEY (account_id, name));

CREATE SEQUENCE blob_id_seq INCREMENT BY 1024 CACHE 1;-- a process takes blocks of ids, for bodies, EMAILIDs and THREADIDs
CREATE SEQUENCE node_id_seq AS int CYCLE;             -- a running process; it holds an advisory lock on its id

CREATE TABLE blob (id bigint PRIMARY KEY, raw_size bigint NOT NULL, codec smallint NOT NULL, key_id smallint NOT NULL DEFAULT 0,
  n_chunks int NOT NULL, sha256 bytea NOT NULL);
CREATE TABLE blob_chunk (                             -- one independent zstd frame per 256 KiB of raw message
  blob_id bigint NOT NULL, seq int NOT NULL, data bytea NOT NULL, PRIMARY KEY (blob_id, seq)
) PARTITION BY HASH (blob_id);

CREATE TABLE message (                                -- immutable after insert: FETCH needs this table only
  account_id bigint NOT NULL, mailbox_id bigint NOT NULL, uid bigint NOT NULL,
  blob_id bigint NOT NULL,
  email_id bigint NOT NULL,                           -- EMAILID: kept by COPY, MOVE and undelete; never the blob's id
  thread_id bigint NOT NULL,                          -- given at delivery from thread_ref, never changed
  prefix bytea,                                       -- per-recipient fields, served before the blob; size includes it
  size bigint NOT NULL, idate timestamptz NOT NULL, sent_at timestamptz,
  sent_on date,                                       -- the day that the Date field names, in its own zone (RFC 3501 SENTON)
  idate_zone smallint NOT NULL DEFAULT 0,             -- minutes east of UTC: the zone that idate was given in, which names its day (RFC 3501 SEARCH ON)
  saved_at timestamptz NOT NULL DEFAULT now(),        -- SAVEDATE
  env bytea NOT NULL, bodystructure bytea NOT NULL,   -- pre-serialised IMAP text
  hdr_wire bytea NOT NULL,                            -- verbatim bytes of the header fields that clients ask for
  parts bytea NOT NULL,                               -- packed (part, header offset/length, body offset/length, encoding)
  preview text,                                       -- RFC 8970, up to 256 octets
  sort_subject text, sort_from text, sort_to text, sort_cc text, -- SORT, THREAD=ORDEREDSUBJECT
  display_from text, display_to text,                 -- SORT=DISPLAY
  hdr text NOT NULL,                                  -- folded decoded From/To/Cc/Bcc/Subject for SEARCH
  uidl text,                                          -- only where imported; else UIDVALIDITY.UID
  PRIMARY KEY (account_id, mailbox_id, uid)
) PARTITION BY HASH (account_id);
CREATE INDEX message_blob ON message (blob_id);       -- collection of bodies, text join

CREATE TABLE msg_state (                              -- mutable; no index but the key, so that updates are HOT
  account_id bigint NOT NULL, mailbox_id bigint NOT NULL, uid bigint NOT NULL,
  flags bigint NOT NULL, modseq bigint NOT NULL,
  pop3 smallint NOT NULL DEFAULT 0, pop3_retrieved timestamptz,   -- hidden from POP3; first RETR, for EXPIRE
  PRIMARY KEY (account_id, mailbox_id, uid)
) PARTITION BY HASH (account_id);

CREATE TABLE mailbox_change (                         -- journal: CONDSTORE, QRESYNC, IDLE, NOTIFY all read this
  account_id bigint NOT NULL, mailbox_id bigint NOT NULL, modseq bigint NOT NULL,
  kind "char" NOT NULL,                               -- 'A' added, 'F' flags, 'X' expunged (tombstone)
  uids int8multirange NOT NULL,
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, mailbox_id, modseq, kind)
) PARTITION BY HASH (account_id);

CREATE TABLE expunged (                               -- grace period: not counted in quota; the message row stays until it is swept
  account_id bigint NOT NULL, mailbox_id bigint NOT NULL, uid bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), flags bigint NOT NULL,
  moved boolean NOT NULL DEFAULT false,               -- gone by MOVE: not to be undeleted, swept sooner
  PRIMARY KEY (account_id, mailbox_id, uid));
CREATE INDEX expunged_at ON expunged (at);

CREATE TABLE thread_ref (account_id bigint NOT NULL, msgid_hash bytea NOT NULL, thread_id bigint NOT NULL, PRIMARY KEY (account_id, msgid_hash));

CREATE TABLE delivery (                               -- a delivery whose reply the client has not confirmed by its next command
  key bytea NOT NULL,                                 -- hash of received octets, reverse-path and recipient
  attempt bigint NOT NULL,                            -- one per transaction of the client: the same mail twice is two
  node int NOT NULL,                                  -- process that serves the session
  account_id bigint NOT NULL, mailbox_id bigint NOT NULL, uid bigint NOT NULL, email_id bigint NOT NULL, -- zeros: left by the queue
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (key, attempt));

CREATE TABLE blob_wire (                              -- bodies whose lines don't all end in CRLF: POP3 sends this many octets more
  blob_id bigint PRIMARY KEY REFERENCES blob ON DELETE CASCADE, extra bigint NOT NULL);

CREATE TABLE maildrop_lock (                          -- the POP3 session that has the maildrop, a lease
  account_id bigint PRIMARY KEY REFERENCES account ON DELETE CASCADE, owner text NOT NULL, until timestamptz NOT NULL);

-- Exact substring search over bodies. Texts are folded in Go and kept in packs
-- of up to 16 (or about 128 KB); for accounts that search, packs are covered by
-- write-once word segments, merged 16 to 1.
CREATE TABLE text_todo (account_id bigint NOT NULL, blob_id bigint NOT NULL, PRIMARY KEY (account_id, blob_id));
CREATE TABLE text_pack (
  account_id bigint NOT NULL, first_no bigint NOT NULL, n smallint NOT NULL,
  blob_ids bigint[] NOT NULL, z bytea NOT NULL,       -- zstd of the folded body texts, each ended by 0x00
  heads bytea NOT NULL,                               -- zstd of the folded header texts, likewise: for TEXT and rare HEADER fields
  PRIMARY KEY (account_id, first_no)) PARTITION BY HASH (account_id);
CREATE TABLE text_segment (
  account_id bigint NOT NULL, first_no bigint NOT NULL, n int NOT NULL,
  format smallint NOT NULL,                           -- pins the folding and letter tables
  ids bytea NOT NULL,                                 -- blob ids covered
  vocab bytea NOT NULL,                               -- zstd of the sorted words between 0x00
  skips bytea NOT NULL, post bytea NOT NULL,          -- offset every 32 words; per word a count, then delta varints, or a bitmap when frequent
  PRIMARY KEY (account_id, first_no)) PARTITION BY HASH (account_id);
CREATE TABLE text_dead (account_id bigint NOT NULL, blob_id bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (account_id, blob_id));

CREATE TABLE blob_gc (                                -- bodies that may have lost their last reference, and staged ones without a first
  blob_id bigint PRIMARY KEY, after timestamptz NOT NULL);
CREATE INDEX blob_gc_after ON blob_gc (after);

CREATE TABLE account_gone (account_id bigint PRIMARY KEY);                            -- removed; its rows are left to sweep
CREATE TABLE mailbox_gone (mailbox_id bigint PRIMARY KEY, account_id bigint NOT NULL);

-- +goose StatementBegin
CREATE FUNCTION account_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO account_gone (account_id) VALUES (OLD.id) ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER account_gone AFTER DELETE ON account FOR EACH ROW EXECUTE FUNCTION account_gone();

-- The bodies among these that something refers to. The queue's table comes with
-- a later migration, so it is looked up by name.
-- +goose StatementBegin
CREATE FUNCTION blobs_in_use(ids bigint[]) RETURNS SETOF bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
  RETURN QUERY SELECT i FROM unnest(ids) i WHERE EXISTS (SELECT FROM message m WHERE m.blob_id = i);
  IF to_regclass('queue_message') IS NOT NULL THEN
    RETURN QUERY EXECUTE 'SELECT i FROM unnest($1) i WHERE EXISTS (SELECT FROM queue_message q WHERE q.blob_id = i)' USING ids;
  END IF;
END $$;
-- +goose StatementEnd

-- +goose StatementBegin
DO $$ DECLARE t text; i int; BEGIN
  FOREACH t IN ARRAY ARRAY['blob_chunk','message','msg_state','mailbox_change','text_pack','text_segment'] LOOP
    FOR i IN 0..15 LOOP
      EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES WITH (MODULUS 16, REMAINDER %s) %s', t||'_p'||i, t, i,
        CASE t WHEN 'msg_state' THEN 'WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.05)'
               WHEN 'message' THEN 'WITH (fillfactor=100, autovacuum_vacuum_insert_scale_factor=0.05)'
               WHEN 'blob_chunk' THEN 'WITH (autovacuum_vacuum_scale_factor=0.02, toast.autovacuum_vacuum_scale_factor=0.02)' ELSE '' END);
      EXECUTE format(CASE t WHEN 'blob_chunk' THEN 'ALTER TABLE %I ALTER data SET STORAGE EXTERNAL'      -- CREATE TABLE .. STORAGE is PG16+
        WHEN 'text_pack' THEN 'ALTER TABLE %I ALTER z SET STORAGE EXTERNAL, ALTER heads SET STORAGE EXTERNAL'
        WHEN 'text_segment' THEN 'ALTER TABLE %I ALTER ids SET STORAGE EXTERNAL, ALTER vocab SET STORAGE EXTERNAL, ALTER skips SET STORAGE EXTERNAL, ALTER post SET STORAGE EXTERNAL'
        ELSE 'SELECT 1' END, t||'_p'||i);
    END LOOP;
  END LOOP; END $$;
-- +goose StatementEnd
