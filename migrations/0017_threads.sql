-- +goose Up
-- What THREAD=REFERENCES asks of a message, packed at delivery (message.ThreadKeys).
-- NULL: stored by an earlier version; it is made of hdr_wire, or of the header,
-- when it is asked for.

ALTER TABLE message ADD COLUMN thread_keys bytea;
