-- +goose Up
-- A segment's contents have a name: processes keep decompressed vocabularies, and
-- compaction writes a segment anew under the same first_no. No segment was written before.
ALTER TABLE text_segment ADD COLUMN id bigint NOT NULL;
