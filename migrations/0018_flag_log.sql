-- +goose Up
-- A STORE of many messages is one row of the journal, which says what was done
-- to the flags; the messages' own rows follow in the background, in small
-- transactions. Until then what is in force is the row and, in their order, the
-- operations of higher mod-sequence that name the message.

ALTER TABLE mailbox_change
  ADD clears bigint, ADD sets bigint;                 -- of kind 'F': the flags became flags & ~clears | sets; NULL: look at the rows
ALTER TABLE mailbox
  ADD fold_from bigint;                               -- operations of the journal from here on are not all in msg_state yet; NULL: they are
CREATE INDEX mailbox_fold ON mailbox (id) WHERE fold_from IS NOT NULL;

-- The flags of a message whose row has these flags and this mod-sequence.
-- +goose StatementBegin
CREATE FUNCTION flags_now(acct bigint, mbox bigint, uid bigint, flags bigint, since bigint) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE c record; f bigint := flags;
BEGIN
  FOR c IN SELECT m.clears, m.sets FROM mailbox_change m WHERE m.account_id = acct AND m.mailbox_id = mbox AND m.modseq > since
      AND m.sets IS NOT NULL AND m.uids @> flags_now.uid ORDER BY m.modseq LOOP
    f := f & ~c.clears | c.sets;
  END LOOP;
  RETURN f;
END $$;
-- +goose StatementEnd

-- msg_state with the flags and mod-sequences that are in force: for who reads it in SQL alone.
CREATE VIEW msg_now AS SELECT s.account_id, s.mailbox_id, s.uid,
    CASE WHEN b.fold_from IS NULL THEN s.flags ELSE flags_now(s.account_id, s.mailbox_id, s.uid, s.flags, s.modseq) END AS flags,
    CASE WHEN b.fold_from IS NULL THEN s.modseq ELSE greatest(s.modseq, (SELECT max(c.modseq) FROM mailbox_change c
      WHERE c.account_id = s.account_id AND c.mailbox_id = s.mailbox_id AND c.modseq > s.modseq AND c.sets IS NOT NULL AND c.uids @> s.uid)) END AS modseq,
    s.pop3, s.pop3_retrieved
  FROM msg_state s LEFT JOIN mailbox b ON b.id = s.mailbox_id;
