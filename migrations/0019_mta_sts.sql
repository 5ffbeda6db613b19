-- +goose Up
-- What a domain's MTA-STS policy asks of senders (RFC 8461 §5): in testing they
-- report what would fail, and deliver; since when, tells when enough was seen.

ALTER TABLE domain
    ADD COLUMN sts_mode  text NOT NULL DEFAULT 'testing' CHECK (sts_mode IN ('testing', 'enforce', 'none')),
    ADD COLUMN sts_since timestamptz NOT NULL DEFAULT now();
