CREATE TABLE orders (
  id    INTEGER PRIMARY KEY,
  total INTEGER NOT NULL,
  -- open -> shipped -> invoicing -> invoiced; or cancelled
  state TEXT NOT NULL
);
CREATE TABLE invoices (
  number    INTEGER PRIMARY KEY,
  order_id  INTEGER NOT NULL REFERENCES orders,
  total     INTEGER NOT NULL,
  -- who asked for it: a second try finds its own
  key       TEXT,
  cancelled INTEGER NOT NULL DEFAULT 0
);
-- The last line: whatever goes wrong, an order has one invoice that counts.
CREATE UNIQUE INDEX one_invoice ON invoices (order_id) WHERE cancelled = 0;
