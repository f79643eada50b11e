CREATE TABLE inbox (
  user_id bigint NOT NULL, conversation_id bigint NOT NULL, last_message_id bigint NOT NULL, preview text NOT NULL,
  version bigint NOT NULL, deleted boolean NOT NULL, PRIMARY KEY (user_id, conversation_id));
CREATE TABLE notifications (
  user_id bigint NOT NULL, conversation_id bigint NOT NULL, state text NOT NULL,
  version bigint NOT NULL, deleted boolean NOT NULL, PRIMARY KEY (user_id, conversation_id));
