package store

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// transaction is a transaction that saves round trips: its BEGIN, and whatever is
// queued, goes out with the next statement that is waited for, or with the COMMIT.
// Statements run in the order in which they were queued, and each sees what others
// committed before it began.
type transaction struct {
	conn   *pgxpool.Conn
	queued *pgx.Batch
}

// execer is a pool or a transaction.
type execer interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// inTx runs f in a transaction and, unless f fails, commits it with what f left
// queued. Errors come back classified.
func (s *Store) inTx(ctx context.Context, f func(*transaction) error) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return classify(err)
	}
	// What is still in the transaction then, because f panicked or nothing can be
	// sent any more, is closed.
	defer conn.Release()
	tx := &transaction{conn: conn, queued: &pgx.Batch{}}
	tx.Queue(`BEGIN`)
	if err = f(tx); err == nil {
		err = tx.commit(ctx)
	}
	if conn.Conn().PgConn().TxStatus() != 'I' {
		_, _ = conn.Exec(ctx, `ROLLBACK`)
	}
	return classify(err)
}

func (tx *transaction) commit(ctx context.Context) error {
	tag, err := tx.Exec(ctx, `COMMIT`)
	if err == nil && tag.String() != "COMMIT" {
		err = pgx.ErrTxCommitRollback // of an error that f kept to itself
	}
	return err
}

// Queue adds a statement to those that go out next. If its answer is given to a
// function, an error of that fails the transaction, but comes too late for a
// statement that goes out with the COMMIT.
func (tx *transaction) Queue(sql string, args ...any) *pgx.QueuedQuery {
	return tx.queued.Queue(sql, args...)
}

// scan and collect are functions for the answer of a queued statement.

func scan(dest ...any) func(pgx.Row) error {
	return func(row pgx.Row) error { return row.Scan(dest...) }
}

func collect[T any](dest *[]T, scan pgx.RowToFunc[T]) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*dest, err = pgx.CollectRows(rows, scan)
		return err
	}
}

// Send sends what is queued and waits for the answers.
func (tx *transaction) Send(ctx context.Context) error {
	queued := tx.queued
	tx.queued = &pgx.Batch{}
	return tx.conn.SendBatch(ctx, queued).Close()
}

// Exec runs what is queued and a statement.
func (tx *transaction) Exec(ctx context.Context, sql string, args ...any) (tag pgconn.CommandTag, err error) {
	tx.Queue(sql, args...).Exec(func(answer pgconn.CommandTag) error {
		tag = answer
		return nil
	})
	err = tx.Send(ctx)
	return tag, err
}

// QueryRow runs what is queued and a statement, when its row is scanned.
func (tx *transaction) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	return scanFunc(func(dest ...any) (err error) {
		tx.Queue(sql, args...).QueryRow(func(row pgx.Row) error {
			err = row.Scan(dest...)
			return nil // pgx would prepare everything anew after an error, and no row is none
		})
		if failed := tx.Send(ctx); failed != nil {
			return failed
		}
		return err
	})
}

type scanFunc func(dest ...any) error

func (f scanFunc) Scan(dest ...any) error { return f(dest...) }

// Query runs what is queued, and then a statement.
func (tx *transaction) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := tx.Send(ctx); err != nil {
		return nil, err
	}
	return tx.conn.Query(ctx, sql, args...)
}
