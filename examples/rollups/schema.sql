CREATE TABLE landings (                       -- the raw events
  id bigint NOT NULL PRIMARY KEY, airport text NOT NULL, landed_at timestamp NOT NULL,   -- UTC
  minutes_late integer NOT NULL);
CREATE INDEX landings_by_time ON landings (landed_at);
CREATE TABLE clocks (                         -- New York, from one change of its clocks to the next; moments in UTC
  begins timestamp NOT NULL PRIMARY KEY, ends timestamp NOT NULL, hours integer NOT NULL);
INSERT INTO clocks VALUES
  ('2013-03-10 07:00:00', '2013-11-03 06:00:00', -4),
  ('2013-11-03 06:00:00', '2014-03-09 07:00:00', -5);
CREATE TABLE by_hour (
  airport text NOT NULL, hour timestamp NOT NULL, landings integer NOT NULL, minutes_late integer NOT NULL,
  PRIMARY KEY (airport, hour));               -- hours begin at moments in UTC: the one that comes twice is two
CREATE TABLE by_day (
  airport text NOT NULL, day date NOT NULL, landings integer NOT NULL, minutes_late integer NOT NULL,
  PRIMARY KEY (airport, day));                -- days of New York
