CREATE TABLE views (id integer PRIMARY KEY, page_id integer NOT NULL, shard integer NOT NULL);
CREATE INDEX views_of_a_shard ON views (page_id, shard);
CREATE TABLE page_shards (page_id integer NOT NULL, shard integer NOT NULL, n integer NOT NULL, PRIMARY KEY (page_id, shard));
CREATE TABLE page_totals (page_id integer NOT NULL PRIMARY KEY, n integer NOT NULL);
CREATE TABLE totals_due (page_id integer NOT NULL PRIMARY KEY);  -- pages whose total is to be summed up again
