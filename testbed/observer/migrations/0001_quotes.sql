CREATE TABLE quotes (
    quote_id   uuid PRIMARY KEY,
    symbol     text NOT NULL,
    quoted_at  timestamptz NOT NULL,
    price      bigint NOT NULL,
    volume     bigint NOT NULL
);
CREATE INDEX quotes_symbol_quoted_at ON quotes (symbol, quoted_at);
