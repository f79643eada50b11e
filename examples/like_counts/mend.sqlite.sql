DROP TRIGGER purged;
CREATE TRIGGER purged AFTER DELETE ON likes WHEN OLD.active BEGIN
  UPDATE post_like_counts SET likes = likes - 1 WHERE post_id = OLD.post_id;
END;
