package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
	"go.etcd.io/bbolt"
	"modernc.org/sqlite"
)

// The plain stores keep no recency, no TTL and no limit: they are what nothing on the same driver can beat by
// much.
const (
	plainTable  = "CREATE TABLE cache (key BLOB PRIMARY KEY, value BLOB NOT NULL)"
	plainSelect = "SELECT value FROM cache WHERE key = ?"
	plainUpsert = "INSERT INTO cache VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)

// plain is a table with prepared statements, through database/sql.
type plain struct {
	db       *sql.DB
	get, set *sql.Stmt
}

// NewPlain makes a plain table with the library's driver.
func NewPlain(ctx context.Context, place string) (Store, error) {
	return newPlain(ctx, "sqlite", address(place))
}

// NewMattn makes a plain table with github.com/mattn/go-sqlite3, which is SQLite in C and needs cgo.
func NewMattn(ctx context.Context, place string) (Store, error) {
	if place == "" {
		return newPlain(ctx, "sqlite3", fmt.Sprintf("file:/mattn%d?vfs=memdb", rand.Int64()))
	}
	return newPlain(ctx, "sqlite3", "file:"+place+"?_journal_mode=WAL&_synchronous=NORMAL")
}

func newPlain(ctx context.Context, driver, address string) (Store, error) {
	db, err := sql.Open(driver, address)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // several at a time are slower, and meet locks
	if _, err := db.ExecContext(ctx, plainTable); err != nil {
		return nil, err
	}
	get, err := db.PrepareContext(ctx, plainSelect)
	if err != nil {
		return nil, err
	}
	set, err := db.PrepareContext(ctx, plainUpsert)
	return &plain{db, get, set}, err
}

// Get looks key up with a background context, since the driver would watch another one.
func (p *plain) Get(_ context.Context, key string) (value []byte, found bool, err error) {
	err = p.get.QueryRowContext(context.Background(), []byte(key)).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	return value, err == nil, err
}

func (p *plain) Set(_ context.Context, key string, value []byte, _ time.Duration) error {
	_, err := p.set.ExecContext(context.Background(), []byte(key), value)
	return err
}

func (p *plain) Fill(ctx context.Context, n int, value []byte, ttl time.Duration) error {
	return fill(ctx, p, n, value, ttl)
}

func (p *plain) Close() error { return errors.Join(p.get.Close(), p.set.Close(), p.db.Close()) }

// direct is a plain table whose statements call the driver, without database/sql.
type direct struct {
	mu       sync.Mutex // of one connection
	conn     driver.Conn
	get, set driver.Stmt
}

// NewDirect makes a plain table on the library's driver, called directly.
func NewDirect(ctx context.Context, place string) (Store, error) {
	return newDirect(ctx, address(place))
}

// NewDirectCached is NewDirect with a page cache as large as the library's.
func NewDirectCached(ctx context.Context, place string) (Store, error) {
	return newDirect(ctx, address(place)+"&_pragma=cache_size(-16384)")
}

func newDirect(ctx context.Context, address string) (Store, error) {
	connector, err := sqlite.NewConnector(address)
	if err != nil {
		return nil, err
	}
	conn, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, plainTable, nil); err != nil {
		return nil, err
	}
	prepare := conn.(driver.ConnPrepareContext).PrepareContext
	get, err := prepare(ctx, plainSelect)
	if err != nil {
		return nil, err
	}
	set, err := prepare(ctx, plainUpsert)
	return &direct{conn: conn, get: get, set: set}, err
}

func (d *direct) Get(_ context.Context, key string) (value []byte, found bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	args := [1]driver.NamedValue{{Ordinal: 1, Value: []byte(key)}}
	rows, err := d.get.(driver.StmtQueryContext).QueryContext(context.Background(), args[:])
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = rows.Close() }()
	var row [1]driver.Value
	if err := rows.Next(row[:]); errors.Is(err, io.EOF) {
		return nil, false, nil
	} else if err != nil {
		return nil, false, err
	}
	value, _ = row[0].([]byte)
	return value, true, nil
}

func (d *direct) Set(_ context.Context, key string, value []byte, _ time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	args := [2]driver.NamedValue{{Ordinal: 1, Value: []byte(key)}, {Ordinal: 2, Value: value}}
	_, err := d.set.(driver.StmtExecContext).ExecContext(context.Background(), args[:])
	return err
}

func (d *direct) Fill(ctx context.Context, n int, value []byte, ttl time.Duration) error {
	return fill(ctx, d, n, value, ttl)
}

func (d *direct) Close() error { return errors.Join(d.get.Close(), d.set.Close(), d.conn.Close()) }

// bolt is a bucket of bbolt.
type bolt struct{ db *bbolt.DB }

var bucket = []byte("cache")

// NewBolt makes a bucket in a file. It doesn't wait for the disk, like the other files here; unlike theirs,
// its file may then be damaged when the machine dies.
func NewBolt(_ context.Context, place string) (Store, error) {
	db, err := bbolt.Open(place, 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		return nil, err
	}
	return &bolt{db}, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket(bucket)
		return err
	})
}

func (b *bolt) Get(_ context.Context, key string) (value []byte, found bool, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		if v := tx.Bucket(bucket).Get([]byte(key)); v != nil {
			value, found = append([]byte(nil), v...), true // v is good until the transaction ends
		}
		return nil
	})
	return value, found, err
}

func (b *bolt) Set(_ context.Context, key string, value []byte, _ time.Duration) error {
	return b.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte(key), value) })
}

func (b *bolt) Fill(_ context.Context, n int, value []byte, _ time.Duration) error {
	return b.db.Update(func(tx *bbolt.Tx) error {
		for i := range n {
			if err := tx.Bucket(bucket).Put([]byte(Key(i)), value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bolt) Close() error { return b.db.Close() }
