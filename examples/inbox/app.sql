CREATE TABLE members (
  conversation_id bigint NOT NULL, user_id bigint NOT NULL, muted boolean NOT NULL DEFAULT false, last_read_id bigint,
  has_left boolean NOT NULL DEFAULT false,
  version bigint NOT NULL DEFAULT 1,           -- raised by everything that the inbox shows
  PRIMARY KEY (conversation_id, user_id));
CREATE TABLE messages (
  id bigint NOT NULL PRIMARY KEY, conversation_id bigint NOT NULL, sender_id bigint NOT NULL, body text NOT NULL);
CREATE INDEX messages_by_conversation ON messages (conversation_id, id);
CREATE TABLE ids (last bigint NOT NULL);
INSERT INTO ids VALUES (0);
