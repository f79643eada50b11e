CREATE TABLE likes (
  post_id bigint NOT NULL, user_id bigint NOT NULL, active boolean NOT NULL DEFAULT true, PRIMARY KEY (post_id, user_id));
CREATE TABLE post_like_counts (post_id bigint NOT NULL PRIMARY KEY, likes integer NOT NULL);
