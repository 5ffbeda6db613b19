-- +goose Up
-- Annotations (RFC 5464): what clients keep with a mailbox, or with the account.

CREATE TABLE metadata (
  account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
  mailbox_id bigint REFERENCES mailbox ON DELETE CASCADE, -- NULL: of the account
  entry      text NOT NULL,                               -- in lower case: /private/comment
  value      bytea NOT NULL,
  UNIQUE NULLS NOT DISTINCT (account_id, mailbox_id, entry));
CREATE INDEX metadata_mailbox ON metadata (mailbox_id) WHERE mailbox_id IS NOT NULL; -- for the foreign key
