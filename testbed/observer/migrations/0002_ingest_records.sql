CREATE TABLE ingest_records (
    writer          text NOT NULL,
    seq             bigint NOT NULL,
    payload         text NOT NULL,
    payload_sha256  text NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (writer, seq)
);
