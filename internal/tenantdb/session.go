package tenantdb

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tenantry/tenantry/internal/tenancy"
)

// keepFor is how long a session in a tenant's database waits for the next phase of
// the job. To begin one takes several milliseconds, and the next phase is as close.
const keepFor = time.Second

// room is a database of a server.
type room struct {
	server   tenancy.ServerID
	database string
}

// keptSession is a session that no call uses just now.
type keptSession struct {
	conn *pgx.Conn
	end  *time.Timer
}

func (w *work) room() room { return room{w.server.ID, w.database} }

// keep leaves a session for the next call that enters the database.
func (w *work) keep(conn *pgx.Conn) {
	w.leaveKept() // another call's
	k := &keptSession{conn: conn}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept[w.room()] = k
	s, r := w.Servers, w.room()
	k.end = time.AfterFunc(keepFor, func() {
		s.mu.Lock()
		mine := s.kept[r] == k
		if mine {
			delete(s.kept, r)
		}
		s.mu.Unlock()
		if mine {
			leave(conn)
		}
	})
}

// takeKept returns the session that was kept, as the admin's, or nil.
func (w *work) takeKept(ctx context.Context) *pgx.Conn {
	w.mu.Lock()
	k := w.kept[w.room()]
	delete(w.kept, w.room())
	w.mu.Unlock()
	if k == nil {
		return nil
	}
	k.end.Stop()
	if _, err := k.conn.Exec(ctx, "RESET ROLE"); err != nil {
		leave(k.conn) // somebody ended it meanwhile
		return nil
	}
	return k.conn
}

// leaveKept ends the session that was kept, if any.
func (w *work) leaveKept() {
	w.mu.Lock()
	k := w.kept[w.room()]
	delete(w.kept, w.room())
	w.mu.Unlock()
	if k != nil {
		k.end.Stop()
		leave(k.conn)
	}
}

// keptPID is the server's process of the session that was kept, or 0.
func (w *work) keptPID() int32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k := w.kept[w.room()]; k != nil {
		return int32(k.conn.PgConn().PID())
	}
	return 0
}

// leaveAll ends every session that was kept.
func (s *Servers) leaveAll() {
	s.mu.Lock()
	kept := s.kept
	s.kept = map[room]*keptSession{}
	s.mu.Unlock()
	for _, k := range kept {
		k.end.Stop()
		leave(k.conn)
	}
}

// leave ends a session, whether or not anybody still waits.
func leave(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	_ = conn.Close(ctx)
}
