package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// naive is the Python original's SQL, statement for statement: a read writes when it happened, and a write
// looks through the index of all that to find what lies beyond the limit. It has one connection, like the
// original, and each call is one transaction, as there, where an UPDATE begins one and commit ends it.
type naive struct {
	db      *sql.DB
	maxSize int
}

// NewNaive makes a cache with the original's SQL, of at most maxSize entries.
func NewNaive(ctx context.Context, place string, maxSize int) (Store, error) {
	db, err := sql.Open("sqlite", address(place))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `
		CREATE TABLE cache (key PRIMARY KEY, value NOT NULL, expiry NOT NULL, last_read NOT NULL);
		CREATE INDEX cache_expiry ON cache (expiry);
		CREATE INDEX cache_last_read ON cache (last_read)`)
	return &naive{db, maxSize}, err
}

func (n *naive) Get(ctx context.Context, key string) (value []byte, found bool, err error) {
	err = n.transaction(ctx, func(tx *sql.Tx) error {
		now := time.Now().UnixMicro()
		if _, err := tx.ExecContext(ctx, "UPDATE cache SET last_read = ? WHERE key = ? AND expiry > ?", now, key, now); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT value FROM cache WHERE key = ? AND expiry > ?", key, now).Scan(&value)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return value, err == nil, err
}

func (n *naive) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return n.transaction(ctx, func(tx *sql.Tx) error {
		now := time.Now()
		if _, err := tx.ExecContext(ctx, "INSERT OR REPLACE INTO cache (key, value, expiry, last_read) VALUES (?, ?, ?, ?)",
			key, value, now.Add(ttl).UnixMicro(), now.UnixMicro()); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM cache WHERE key IN (
			SELECT key FROM cache ORDER BY last_read DESC LIMIT -1 OFFSET ?)`, n.maxSize)
		return err
	})
}

// Fill doesn't look for what to evict, which would take minutes.
func (n *naive) Fill(ctx context.Context, entries int, value []byte, ttl time.Duration) error {
	return n.transaction(ctx, func(tx *sql.Tx) error {
		insert, err := tx.PrepareContext(ctx, "INSERT INTO cache (key, value, expiry, last_read) VALUES (?, ?, ?, ?)")
		if err != nil {
			return err
		}
		defer func() { _ = insert.Close() }()
		for i := range entries {
			now := time.Now()
			if _, err := insert.ExecContext(ctx, Key(i), value, now.Add(ttl).UnixMicro(), now.UnixMicro()); err != nil {
				return err
			}
		}
		return nil
	})
}

func (n *naive) Close() error { return n.db.Close() }

func (n *naive) transaction(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := n.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}
