-- +goose Up
-- Rights of others in mailboxes (RFC 4314), and accounts that several people
-- share. A row goes with its mailbox, and with the account that it is granted to:
-- who gets an address anew has no rights that came with it.

ALTER TABLE account ADD COLUMN shared boolean NOT NULL DEFAULT false; -- nobody logs in to it; its mailboxes stand below Shared/

CREATE TABLE acl (
  mailbox_id bigint NOT NULL REFERENCES mailbox ON DELETE CASCADE,
  grantee_id bigint REFERENCES account ON DELETE CASCADE,
  domain     text,                                    -- "anyone": every account of this domain
  negative   boolean NOT NULL,                        -- rights that are taken away, whoever grants them
  rights     int NOT NULL,                            -- bits of mailstore.Rights
  CHECK ((grantee_id IS NULL) <> (domain IS NULL)),
  UNIQUE NULLS NOT DISTINCT (mailbox_id, grantee_id, domain, negative));
CREATE INDEX acl_grantee ON acl (grantee_id) WHERE grantee_id IS NOT NULL; -- what a user sees of others
CREATE INDEX acl_domain ON acl (domain) WHERE domain IS NOT NULL;
