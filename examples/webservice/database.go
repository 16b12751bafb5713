package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/goappcache/appcache"
)

// database is where the users are, and what the cache is to spare.
type database struct{ db *sql.DB }

// user is a row of the table.
type user struct {
	ID   int64  `json:"id"`
	Name string `json:"name"`
}

// userLikes is what a user likes, with the user's name.
type userLikes struct {
	Name  string   `json:"name"`
	Likes []string `json:"likes"`
}

// databaseError marks an error as one of the database, to tell it from one of the cache.
type databaseError struct{ error }

func (e databaseError) Unwrap() error { return e.error }

const (
	schema = `
CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS likes (user INTEGER NOT NULL REFERENCES users, what TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS likes_user ON likes (user);`

	// fill makes users 1 to 100, if there are none.
	fill = `
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 100)
INSERT INTO users SELECT n, iif(n = 54, 'Ada Lovelace', 'User ' || n) FROM numbers
WHERE NOT EXISTS (SELECT * FROM users);
INSERT INTO likes SELECT id, column1 FROM users, (VALUES ('engines'), ('poetry'))
WHERE NOT EXISTS (SELECT * FROM likes);`
)

// openDatabase opens a file, and makes and fills the tables if they aren't there.
func openDatabase(ctx context.Context, path string) (*database, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	uri := url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: "_pragma=busy_timeout(5000)&_pragma=journal_mode(wal)"}
	db, err := sql.Open("sqlite", uri.String())
	if err != nil {
		return nil, err
	}
	if _, err := db.ExecContext(ctx, schema+fill); err != nil {
		return nil, errors.Join(fmt.Errorf("making the tables in %s: %w", path, err), db.Close())
	}
	return &database{db}, nil
}

// Close closes the file.
func (d *database) Close() error { return d.db.Close() }

// user returns a user, or appcache.ErrNotFound.
func (d *database) user(ctx context.Context, id int64) (user, error) {
	u := user{ID: id}
	err := d.db.QueryRowContext(ctx, "SELECT name FROM users WHERE id = ?", id).Scan(&u.Name)
	return u, d.wrap(id, err)
}

// likes returns what a user likes, or appcache.ErrNotFound.
func (d *database) likes(ctx context.Context, id int64) (userLikes, error) {
	u, err := d.user(ctx, id)
	if err != nil {
		return userLikes{}, err
	}
	rows, err := d.db.QueryContext(ctx, "SELECT what FROM likes WHERE user = ? ORDER BY what", id)
	if err != nil {
		return userLikes{}, d.wrap(id, err)
	}
	defer func() { _ = rows.Close() }()
	l := userLikes{Name: u.Name, Likes: []string{}}
	for rows.Next() {
		var what string
		if err := rows.Scan(&what); err != nil {
			return userLikes{}, d.wrap(id, err)
		}
		l.Likes = append(l.Likes, what)
	}
	return l, d.wrap(id, rows.Err())
}

// change changes a user, or returns appcache.ErrNotFound.
func (d *database) change(ctx context.Context, u user) error {
	result, err := d.db.ExecContext(ctx, "UPDATE users SET name = ? WHERE id = ?", u.Name, u.ID)
	if err != nil {
		return d.wrap(u.ID, err)
	}
	changed, err := result.RowsAffected()
	if err == nil && changed == 0 {
		err = sql.ErrNoRows
	}
	return d.wrap(u.ID, err)
}

func (d *database) wrap(id int64, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return databaseError{fmt.Errorf("user %d: %w", id, appcache.ErrNotFound)}
	default:
		return databaseError{fmt.Errorf("user %d: %w", id, err)}
	}
}
