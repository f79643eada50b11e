-- last_read_id is NULL for a member who never opened the conversation
CREATE TABLE members (
  conversation_id bigint NOT NULL, user_id bigint NOT NULL, last_read_id bigint, PRIMARY KEY (conversation_id, user_id));
CREATE TABLE messages (
  id bigint NOT NULL PRIMARY KEY, conversation_id bigint NOT NULL, sender_id bigint NOT NULL, body text NOT NULL);
CREATE INDEX messages_by_conversation ON messages (conversation_id, id);
CREATE TABLE unread (
  user_id bigint NOT NULL, conversation_id bigint NOT NULL, unread integer NOT NULL, PRIMARY KEY (user_id, conversation_id));
