CREATE TRIGGER liked AFTER INSERT ON likes WHEN NEW.active BEGIN
  INSERT INTO post_like_counts VALUES (NEW.post_id, 1) ON CONFLICT (post_id) DO UPDATE SET likes = likes + 1;
END;
CREATE TRIGGER changed AFTER UPDATE OF active ON likes WHEN NEW.active <> OLD.active BEGIN
  UPDATE post_like_counts SET likes = likes + CASE WHEN NEW.active THEN 1 ELSE -1 END WHERE post_id = NEW.post_id;
END;
-- The bug: a like that was taken back has been counted down already. `WHEN OLD.active` is missing.
CREATE TRIGGER purged AFTER DELETE ON likes BEGIN
  UPDATE post_like_counts SET likes = likes - 1 WHERE post_id = OLD.post_id;
END;
