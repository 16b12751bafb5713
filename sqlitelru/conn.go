package sqlitelru

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"sync"

	"modernc.org/sqlite"
)

// A conn runs statements, on a connection of our own or of the caller's pool. One goroutine uses it at a
// time. Arguments and columns are int64, []byte and nil.
type conn interface {
	// change runs a statement, and returns how many rows it has changed.
	change(ctx context.Context, query string, args ...any) (int64, error)

	// row returns the first row that a query returns, or nil.
	row(query string, args ...any) ([]driver.Value, error)

	// each calls f with all the rows that a query returns. A row is good until f returns, but for the bytes in it,
	// which are the caller's.
	each(f func(row []driver.Value), query string, args ...any) error

	// script runs statements, separated by semicolons, in a transaction.
	script(ctx context.Context, statements string) error

	begin(ctx context.Context) error // of a transaction that writes
	commit() error
	rollback()
}

// exec runs a statement.
func exec(ctx context.Context, c conn, query string, args ...any) error {
	_, err := c.change(ctx, query, args...)
	return err
}

// blob returns what is in a column that holds bytes, never nil.
func blob(v driver.Value) ([]byte, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errTables
	}
	if b == nil {
		b = []byte{} // an empty blob reads back as nil
	}
	return b, nil
}

// ints returns the first row that a query for integers returns, or nil.
func ints(c conn, query string, args ...any) ([]int64, error) {
	row, err := c.row(query, args...)
	if err != nil || row == nil {
		return nil, err
	}
	ints := make([]int64, len(row))
	for i, v := range row {
		var ok bool
		if ints[i], ok = v.(int64); !ok {
			return nil, errTables
		}
	}
	return ints, nil
}

// An ownConn is a connection of our own. It calls the driver directly, because database/sql would cost a
// Get a quarter of its time.
type ownConn struct {
	driver ownDriver
	stmts  map[string]*ownStmt
	broken bool // it mustn't be used again
}

// ownDriver is what connections of modernc.org/sqlite can do.
type ownDriver interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ExecerContext
	IsReadOnly(schema string) (bool, error)
}

type ownStmt struct {
	driver.Stmt
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	args  []driver.NamedValue
}

// dial makes a connection.
func dial(ctx context.Context, dsn string) (*ownConn, error) {
	connector, err := sqlite.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	c, err := connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &ownConn{driver: c.(ownDriver), stmts: map[string]*ownStmt{}}, nil
}

func (c *ownConn) prepare(query string, args []any) (*ownStmt, error) {
	s := c.stmts[query]
	if s == nil {
		prepared, err := c.driver.PrepareContext(quick, query)
		if err != nil {
			return nil, err
		}
		s = &ownStmt{
			Stmt: prepared, exec: prepared.(driver.StmtExecContext), query: prepared.(driver.StmtQueryContext),
			args: make([]driver.NamedValue, len(args)),
		}
		c.stmts[query] = s
	}
	for i, arg := range args {
		s.args[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return s, nil
}

func (c *ownConn) change(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := c.prepare(query, args)
	if err != nil {
		return 0, err
	}
	defer clear(s.args) // values aren't ours to keep
	result, err := s.exec.ExecContext(ctx, s.args)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (c *ownConn) row(query string, args ...any) ([]driver.Value, error) {
	rows, err := c.query(query, args)
	if err != nil {
		return nil, err
	}
	// A statement that isn't reset keeps its snapshot, and the WAL would grow without end.
	defer func() { _ = rows.Close() }()
	return next(rows)
}

func (c *ownConn) each(f func(row []driver.Value), query string, args ...any) error {
	rows, err := c.query(query, args)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for {
		row, err := next(rows)
		if err != nil || row == nil {
			return err
		}
		f(row)
	}
}

// query begins a query. Its rows are to be closed.
func (c *ownConn) query(query string, args []any) (driver.Rows, error) {
	s, err := c.prepare(query, args)
	if err != nil {
		return nil, err
	}
	defer clear(s.args)
	return s.query.QueryContext(quick, s.args)
}

// next returns the next of some rows, or nil.
func next(rows driver.Rows) ([]driver.Value, error) {
	row := make([]driver.Value, len(rows.Columns()))
	if err := rows.Next(row); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return row, nil
}

func (c *ownConn) script(ctx context.Context, statements string) error {
	_, err := c.driver.ExecContext(ctx, "BEGIN IMMEDIATE;"+statements+";COMMIT", nil)
	if err != nil {
		c.rollback()
	}
	return err
}

// begin takes the lock at once. A transaction that begins by reading gets SQLITE_BUSY_SNAPSHOT at its
// first write, whatever the timeout, when somebody else has written in between.
func (c *ownConn) begin(context.Context) error { return exec(quick, c, "BEGIN IMMEDIATE") }

func (c *ownConn) commit() error { return exec(quick, c, "COMMIT") }

func (c *ownConn) rollback() {
	// SQLite may have rolled back by itself, and then says that no transaction is active.
	if err := exec(quick, c, "ROLLBACK"); err != nil && code(err) != codeError {
		c.broken = true
	}
}

func (c *ownConn) close() error {
	for _, s := range c.stmts {
		_ = s.Close()
	}
	return c.driver.Close()
}

// A pool is the caller's, with our statements, which database/sql prepares on each connection that it
// uses them on and closes with it. Preparing one takes as long as a Get. (Statements of the driver's own
// would be faster. But the pool closes connections without telling, and one with open statements
// stays open inside SQLite for ever.)
type pool struct {
	db *sql.DB

	mu    sync.Mutex
	stmts map[string]*sql.Stmt // guarded by mu
}

func (p *pool) prepared(query string) *sql.Stmt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stmts[query]
}

func (p *pool) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if s := p.prepared(query); s != nil {
		return s, nil
	}
	s, err := p.db.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if earlier := p.stmts[query]; earlier != nil {
		_ = s.Close()
		return earlier, nil
	}
	p.stmts[query] = s
	return s, nil
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.stmts {
		_ = s.Close()
	}
	clear(p.stmts)
}

// A poolConn is what an operation borrows from a pool: a connection for a transaction, and for single
// statements whichever is free.
type poolConn struct {
	*pool
	ctx     context.Context //nolint:containedctx // of the one operation, to wait for a connection with
	conn    *sql.Conn       // in a transaction, else nil
	tx      *sql.Tx
	missing []string // statements that weren't prepared in time
}

func (c *poolConn) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if c.tx == nil {
		return c.prepare(ctx, query)
	}
	if s := c.prepared(query); s != nil {
		return c.tx.StmtContext(ctx, s), nil
	}
	// The pool prepares with any connection, and could wait for the very one that we have.
	c.missing = append(c.missing, query)
	return c.tx.PrepareContext(ctx, query)
}

// patience is the context to run a statement with. Outside of a transaction that may have to wait for a
// connection, when the pool has a limit; else watching the context would add half to the cost.
func (c *poolConn) patience(ctx context.Context) context.Context {
	if c.tx == nil && c.db.Stats().MaxOpenConnections > 0 {
		return c.ctx
	}
	return ctx
}

func (c *poolConn) change(ctx context.Context, query string, args ...any) (int64, error) {
	ctx = c.patience(ctx)
	s, err := c.stmt(ctx, query)
	if err != nil {
		return 0, err
	}
	result, err := s.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (c *poolConn) row(query string, args ...any) (first []driver.Value, err error) {
	err = c.query(func(row []driver.Value) bool {
		first = row
		return false
	}, query, args...)
	return first, err
}

func (c *poolConn) each(f func(row []driver.Value), query string, args ...any) error {
	return c.query(func(row []driver.Value) bool {
		f(row)
		return true
	}, query, args...)
}

// query calls f with the rows that a query returns, until it returns false.
func (c *poolConn) query(f func(row []driver.Value) bool, query string, args ...any) error {
	ctx := c.patience(quick)
	s, err := c.stmt(ctx, query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	row, pointers := make([]driver.Value, len(columns)), make([]any, len(columns))
	for i := range row {
		pointers[i] = (*any)(&row[i])
	}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			return err
		}
		if !f(row) {
			return nil
		}
	}
	return rows.Err()
}

func (c *poolConn) script(ctx context.Context, statements string) error {
	conn, err := c.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err = conn.ExecContext(ctx, "BEGIN IMMEDIATE;"+statements+";COMMIT"); err != nil {
		_, _ = conn.ExecContext(quick, "ROLLBACK")
	}
	return err
}

func (c *poolConn) begin(ctx context.Context) (err error) {
	if c.conn, err = c.db.Conn(ctx); err != nil {
		return err
	}
	// Not with ctx: it would roll back by itself, and drop the connection, when that ends.
	if c.tx, err = c.conn.BeginTx(quick, nil); err != nil {
		_ = c.conn.Close()
		return err
	}
	// It is deferred unless the caller's settings say something else; writing first takes the lock at once.
	if err = exec(quick, c, "UPDATE appcache_meta SET clock = clock WHERE version < 0"); err != nil {
		c.rollback()
	}
	return err
}

func (c *poolConn) commit() error {
	err := c.tx.Commit() // which rolls back when it fails
	if err == nil {
		c.end()
	}
	return err
}

func (c *poolConn) rollback() {
	_ = c.tx.Rollback()
	c.end()
}

// end gives the connection back, and prepares for the next time.
func (c *poolConn) end() {
	_ = c.conn.Close()
	c.conn, c.tx = nil, nil
	if len(c.missing) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, lastSleep) // somebody else may have taken the only connection
	defer cancel()
	for _, query := range c.missing {
		_, _ = c.prepare(ctx, query)
	}
	c.missing = nil
}
