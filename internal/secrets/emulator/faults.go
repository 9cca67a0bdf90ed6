package emulator

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// OpKind names an operation of the vault.
type OpKind string

// The operations.
const (
	OpSet          OpKind = "set"
	OpGet          OpKind = "get" // the latest version or a given one
	OpUpdate       OpKind = "update"
	OpDelete       OpKind = "delete"
	OpList         OpKind = "list"
	OpListVersions OpKind = "list versions"
	OpGetDeleted   OpKind = "get deleted"
	OpListDeleted  OpKind = "list deleted"
	OpRecover      OpKind = "recover"
	OpPurge        OpKind = "purge"
)

// Op is one authorised request. Challenges are not counted.
type Op struct {
	Kind OpKind
	// Name is the secret's, as the client wrote it; empty for lists.
	Name string
	// Nth counts requests of this Kind and Name, from 1; case does not matter.
	Nth int
}

// Fault is what happens to a request instead of, or besides, its operation.
type Fault struct {
	// Delay is waited for first. If the client leaves or the server closes
	// meanwhile, nothing is done.
	Delay time.Duration
	// Status answers with this instead of doing the operation; zero does it.
	Status int
	// RetryAfter goes with Status, in whole seconds; zero sends none.
	RetryAfter time.Duration
	// Drop cuts the connection before the operation.
	Drop bool
	// DropReply does the operation and cuts the connection before the answer.
	DropReply bool
}

// faults holds the hook and the counts.
type faults struct {
	mu     sync.Mutex
	hook   func(Op) *Fault
	counts map[Op]int
}

// Fail asks hook about every following request; nil from it, or a nil hook,
// leaves the request alone. hook may be called concurrently.
func (s *Server) Fail(hook func(Op) *Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.hook = hook
}

// Count is how many requests of a kind there were for name, refused ones
// included; name is empty for lists.
func (s *Server) Count(kind OpKind, name string) int {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	return s.faults.counts[Op{Kind: kind, Name: keyOf(name)}]
}

func (f *faults) next(kind OpKind, name string) *Fault {
	f.mu.Lock()
	counted := Op{Kind: kind, Name: keyOf(name)}
	if f.counts == nil {
		f.counts = map[Op]int{}
	}
	f.counts[counted]++
	nth, hook := f.counts[counted], f.hook
	f.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(Op{Kind: kind, Name: name, Nth: nth})
}

// suffer applies what of a fault comes before the operation; done says that the
// request is answered.
func (s *Server) suffer(w http.ResponseWriter, r *http.Request, fault *Fault) (done bool) {
	if fault == nil {
		return false
	}
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-s.closing:
			panic(http.ErrAbortHandler)
		}
	}
	if fault.Drop {
		panic(http.ErrAbortHandler)
	}
	if fault.Status == 0 {
		return false
	}
	if seconds := int(fault.RetryAfter / time.Second); seconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(seconds))
	}
	writeError(w, injected(fault.Status))
	return true
}
