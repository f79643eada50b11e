-- The outbox: for which badge something changed, in the transaction of the change. Rows that were read long ago can go.
CREATE TABLE outbox (id integer PRIMARY KEY AUTOINCREMENT, user_id bigint NOT NULL, conversation_id bigint NOT NULL);
CREATE TRIGGER tell_sent AFTER INSERT ON messages BEGIN
  INSERT INTO outbox (user_id, conversation_id)
  SELECT user_id, conversation_id FROM members WHERE conversation_id = NEW.conversation_id AND user_id <> NEW.sender_id;
END;
CREATE TRIGGER tell_read AFTER UPDATE OF last_read_id ON members BEGIN
  INSERT INTO outbox (user_id, conversation_id) VALUES (NEW.user_id, NEW.conversation_id);
END;
CREATE TRIGGER tell_left AFTER DELETE ON members BEGIN
  INSERT INTO outbox (user_id, conversation_id) VALUES (OLD.user_id, OLD.conversation_id);
END;
