-- For which badge something changed, told at commit; the same twice in one transaction is told once.
CREATE FUNCTION tell_sent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('unread', json_build_object('user_id', user_id, 'conversation_id', conversation_id)::text)
  FROM members WHERE conversation_id = NEW.conversation_id AND user_id <> NEW.sender_id;
  RETURN NULL;
END $$;
CREATE FUNCTION tell_member() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE member members := coalesce(NEW, OLD);
BEGIN
  PERFORM pg_notify('unread', json_build_object('user_id', member.user_id, 'conversation_id', member.conversation_id)::text);
  RETURN NULL;
END $$;
CREATE TRIGGER tell_sent AFTER INSERT ON messages FOR EACH ROW EXECUTE FUNCTION tell_sent();
CREATE TRIGGER tell_member AFTER UPDATE OF last_read_id OR DELETE ON members FOR EACH ROW EXECUTE FUNCTION tell_member();
