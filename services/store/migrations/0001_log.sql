-- Version 1 of the log. Columns are TEXT, BIGINT and BLOB alone, so that the same statements serve another engine.
-- A migration that was released is never edited: the next change is the next file.

CREATE TABLE record (
    -- Place in the whole log, from one, without gaps: given by the writer inside its exclusive transaction.
    position BIGINT NOT NULL PRIMARY KEY,
    stream   TEXT   NOT NULL,
    -- Place in the stream, from one, without gaps.
    version  BIGINT NOT NULL,
    -- The record as JSON; it carries its own format version.
    json     TEXT   NOT NULL,
    -- Two writers that both believe to be next cannot both be stored.
    UNIQUE (stream, version)
);

-- Every stream has exactly one first record, so this index is the list of streams.
CREATE INDEX record_first ON record (stream) WHERE version = 1;

CREATE TABLE chain_cursor (
    -- EIP-155 chain id in decimal: it may exceed what a signed integer column holds.
    chain_id TEXT NOT NULL PRIMARY KEY,
    json     TEXT NOT NULL
);
