-- +goose Up
-- What was imported from other mail stores, so that an import can be
-- interrupted and repeated: a row is written in the transaction that stores the
-- message, and stays when the message is deleted.

CREATE TABLE import_item (
  account_id bigint NOT NULL REFERENCES account ON DELETE CASCADE,
  key bytea NOT NULL,                                 -- 16 octets: a hash of the source, the folder and the message's id or content there
  at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (account_id, key));
