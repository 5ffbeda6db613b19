-- +goose Up
-- what the scheduler of the queue needs beside 0003.
SELECT 1;
