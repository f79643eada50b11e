"""A small forum and shop in any of the three databases, its derived columns right but for what is planted."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mariadb+pymysql", "sqlite": "sqlite"}

SCHEMA = """
CREATE TABLE users (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, posts_count INTEGER NOT NULL DEFAULT 0,
  followers_count INTEGER NOT NULL DEFAULT 0);
CREATE TABLE follows (id INTEGER PRIMARY KEY, follower_id INTEGER NOT NULL REFERENCES users (id),
  followed_id INTEGER NOT NULL REFERENCES users (id));
CREATE TABLE posts (id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users (id), author_name VARCHAR(40),
  comments_count INTEGER, views INTEGER NOT NULL, last_comment_at TIMESTAMP NULL);
CREATE TABLE comments (id INTEGER PRIMARY KEY, post_id INTEGER NOT NULL, parent_id INTEGER,
  replies_count INTEGER NOT NULL DEFAULT 0, created_at TIMESTAMP NULL, deleted_at TIMESTAMP NULL);
CREATE TABLE likes (id INTEGER PRIMARY KEY, likeable_type VARCHAR(20) NOT NULL, likeable_id INTEGER NOT NULL);
CREATE TABLE orders (id INTEGER PRIMARY KEY, total DECIMAL(10,2), subtotal DECIMAL(10,2) NOT NULL,
  tax DECIMAL(10,2) NOT NULL, shipping DECIMAL(10,2) NOT NULL, grand_total DECIMAL(10,2), status VARCHAR(20) NOT NULL);
CREATE TABLE order_lines (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id),
  quantity INTEGER NOT NULL, unit_price DECIMAL(10,2) NOT NULL);
"""
DERIVED = """
UPDATE users SET posts_count = (SELECT count(*) FROM posts p WHERE p.user_id = users.id);
UPDATE users SET followers_count = (SELECT count(*) FROM follows f WHERE f.followed_id = users.id);
UPDATE posts SET author_name = (SELECT u.name FROM users u WHERE u.id = posts.user_id);
UPDATE posts SET comments_count =
  (SELECT count(*) FROM comments c WHERE c.post_id = posts.id AND c.deleted_at IS NULL);
UPDATE posts SET last_comment_at = (SELECT max(c.created_at) FROM comments c WHERE c.post_id = posts.id);
UPDATE comments SET replies_count =
  (SELECT n FROM (SELECT parent_id, count(*) AS n FROM comments GROUP BY parent_id) r WHERE r.parent_id = comments.id)
  WHERE id IN (SELECT parent_id FROM (SELECT parent_id FROM comments WHERE parent_id IS NOT NULL) r);
UPDATE orders SET total = (SELECT sum(l.quantity * l.unit_price) FROM order_lines l WHERE l.order_id = orders.id);
UPDATE orders SET grand_total = subtotal + tax + shipping;
"""
#: What is planted, and in how many rows.
DRIFT = """
UPDATE posts SET comments_count = comments_count + 1 WHERE id <= 12;
UPDATE orders SET total = total + 1 WHERE id > 60 AND total IS NOT NULL;
UPDATE users SET followers_count = -1 WHERE id = 3;
"""
#: Column -> what it is derived from, as it is told.
EXPECTED = {
    "comments.replies_count": "count(*) of comments by parent_id",
    "orders.grand_total": "subtotal + tax + shipping",
    "orders.total": "sum(quantity * unit_price) of order_lines by order_id",
    "posts.author_name": "users.name by user_id",
    "posts.comments_count": "count(*) of comments by post_id where deleted_at IS NULL",
    "posts.last_comment_at": "max(created_at) of comments by post_id",
    "users.followers_count": "count(*) of follows by followed_id",
    "users.posts_count": "count(*) of posts by user_id",
}


@contextmanager
def connected(url: str) -> Iterator[sa.Connection]:
    made = sa.make_url(url)
    engine = sa.create_engine(made.set(drivername=DRIVERS[made.drivername.partition("+")[0]]))
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def execute(connection: sa.Connection, script: str) -> None:
    for statement in script.split(";"):
        if statement.strip():
            connection.exec_driver_sql(statement)


def build(url: str) -> None:
    """The schema, its rows, what is derived of them, and the drift."""
    draw = random.Random(5)

    def moment() -> str:
        return f"2024-{draw.randint(1, 12):02}-{draw.randint(1, 28):02} 12:00:00"

    rows = {
        "users (id, name)": [(n, f"user {n}") for n in range(1, 41)],
        "follows": [(n, draw.randint(1, 40), draw.randint(1, 40)) for n in range(1, 200)],
        "posts (id, user_id, views)": [(n, draw.randint(1, 40), draw.randint(0, 9)) for n in range(1, 101)],
        "comments (id, post_id, parent_id, created_at, deleted_at)": [
            (
                n,
                draw.randint(1, 100),
                draw.randint(1, n - 1) if n > 9 and draw.random() < 0.6 else None,
                moment(),
                moment() if draw.random() < 0.3 else None,
            )
            for n in range(1, 501)
        ],
        "likes": [(n, draw.choice(["Post", "Comment"]), draw.randint(1, 100)) for n in range(1, 300)],
        "orders (id, subtotal, tax, shipping, status)": [
            (n, draw.randint(1, 999), draw.randint(1, 99), draw.randint(1, 9), "paid") for n in range(1, 71)
        ],
        "order_lines": [(n, draw.randint(1, 70), draw.randint(1, 9), draw.randint(1, 99)) for n in range(1, 251)],
    }
    with connected(url) as connection:
        execute(connection, SCHEMA)
        for table, held in rows.items():
            mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
            marks = ", ".join([mark] * len(held[0]))
            connection.exec_driver_sql(f"INSERT INTO {table} VALUES ({marks})", held)
        execute(connection, DERIVED)
        execute(connection, DRIFT)
        # Of nobody: the names alone say that these comments are of posts.
        execute(connection, "UPDATE comments SET post_id = 100 + id WHERE id IN (490, 491)")
        execute(
            connection,
            "UPDATE posts SET comments_count = (SELECT count(*) FROM comments c WHERE c.post_id = "
            "posts.id AND c.deleted_at IS NULL) WHERE id > 12",
        )
