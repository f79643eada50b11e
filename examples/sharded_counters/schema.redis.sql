CREATE TABLE views (id integer PRIMARY KEY, page_id integer NOT NULL);
CREATE INDEX views_of_a_page ON views (page_id);
CREATE TABLE trueup_numbers (name varchar(200) PRIMARY KEY, number bigint NOT NULL);
