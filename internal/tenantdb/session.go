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

// session is one in a tenant's database.
type session struct {
	conn *pgx.Conn
	// owner is the role that it acts as, who owns what is in the database; "" while it
	// acts as the admin.
	owner string
}

// keptSession is a session that no call uses just now.
type keptSession struct {
	// begun is closed when the session is there, or nil because it could not be had.
	begun   chan struct{}
	session *session
	end     *time.Timer
}

func (w *work) room() room { return room{w.server.ID, w.database} }

// keep leaves a session for the next call that enters the database.
func (w *work) keep(s *session) {
	k := w.newKept()
	k.session = s
	close(k.begun)
}

// enterAhead begins a session, the admin's or as owner, for the call that enters the
// database next, which need not wait for what is done until then.
func (w *work) enterAhead(ctx context.Context, owner string) {
	k := w.newKept()
	ahead := *w // its caller goes on, and gives the connection back
	w.closing.Go(func() {
		defer close(k.begun)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		k.session, _ = ahead.connect(ctx, owner) // the next call will see why
	})
}

// newKept is a place for a session, in place of another call's.
func (w *work) newKept() *keptSession {
	w.leaveKept()
	k := &keptSession{begun: make(chan struct{})}
	s, r := w.Servers, w.room()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept[r] = k
	k.end = time.AfterFunc(keepFor, func() {
		s.mu.Lock()
		mine := s.kept[r] == k
		if mine {
			delete(s.kept, r)
		}
		s.mu.Unlock()
		if mine {
			k.leave()
		}
	})
	return k
}

// takeKept returns the session that was kept, or nil. Somebody may have ended it.
func (w *work) takeKept() *session {
	k := w.removeKept()
	if k == nil {
		return nil
	}
	<-k.begun
	return k.session
}

// leaveKept ends the session that was kept, if any.
func (w *work) leaveKept() {
	if k := w.removeKept(); k != nil {
		k.leave()
	}
}

func (w *work) removeKept() *keptSession {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.kept[w.room()]
	delete(w.kept, w.room())
	if k != nil {
		k.end.Stop()
	}
	return k
}

// hasKept reports whether a session is kept.
func (s *Servers) hasKept(r room) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[r] != nil
}

// keptPID is the server's process of the session that was kept, or 0.
func (w *work) keptPID() int32 {
	w.mu.Lock()
	k := w.kept[w.room()]
	w.mu.Unlock()
	if k == nil {
		return 0
	}
	if <-k.begun; k.session == nil {
		return 0
	}
	return int32(k.session.conn.PgConn().PID())
}

// leaveAll ends every session that was kept.
func (s *Servers) leaveAll() {
	s.mu.Lock()
	kept := s.kept
	s.kept = map[room]*keptSession{}
	s.mu.Unlock()
	for _, k := range kept {
		k.end.Stop()
		k.leave()
	}
}

func (k *keptSession) leave() {
	if <-k.begun; k.session != nil {
		leave(k.session.conn)
	}
}

// leave ends a session, whether or not anybody still waits.
func leave(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
	defer cancel()
	_ = conn.Close(ctx)
}
