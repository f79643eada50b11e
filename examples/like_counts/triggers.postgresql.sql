CREATE FUNCTION count_like() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' AND NEW.active THEN
    INSERT INTO post_like_counts VALUES (NEW.post_id, 1)
    ON CONFLICT (post_id) DO UPDATE SET likes = post_like_counts.likes + 1;
  ELSIF TG_OP = 'UPDATE' AND NEW.active <> OLD.active THEN
    UPDATE post_like_counts SET likes = likes + CASE WHEN NEW.active THEN 1 ELSE -1 END WHERE post_id = NEW.post_id;
  ELSIF TG_OP = 'DELETE' THEN  -- The bug: a like that was taken back has been counted down already.
    UPDATE post_like_counts SET likes = likes - 1 WHERE post_id = OLD.post_id;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE ON likes FOR EACH ROW EXECUTE FUNCTION count_like();
