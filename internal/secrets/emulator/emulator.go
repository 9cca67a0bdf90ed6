// Package emulator is a Key Vault for development and tests. It serves the part
// of Key Vault's REST interface that is about secrets, over TLS, to the
// unmodified azsecrets client: versions, tags, attributes, paging, soft delete,
// recovery, purge, purge protection, and Key Vault's error bodies.
//
// Like Key Vault it answers the first request of a client with a challenge; it
// then takes any bearer token, so it protects nothing. A secret that is being
// deleted, recovered or purged passes through a state in which Key Vault finds
// it neither live nor deleted and refuses to set it; Config says how long that
// takes.
//
//	live → deleting → deleted → purging → gone
//	  ↑                  │
//	  └── recovering ────┘
//
// Everything is kept in one file of the data directory, written before a change
// is answered, so it survives a kill; the last changes may not survive the end of the
// machine. What was replaced or purged leaves the file when that is written as a whole:
// at a start, and as it grows. Values are never logged.
package emulator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Config says where and how to serve. The zero Config is a vault on a free
// loopback port that forgets everything when it is closed.
type Config struct {
	// Addr is the address to listen on; default 127.0.0.1:0.
	Addr string
	// DataDir keeps the secrets and the certificate authority between runs. It
	// is created if need be, and only one Server may use it at a time. Empty
	// means a temporary directory that Close removes.
	DataDir string
	// Hosts are names and addresses the server's certificate is valid for
	// besides localhost, 127.0.0.1 and ::1.
	Hosts []string
	// PurgeProtection forbids purging, as the vault property of that name.
	PurgeProtection bool
	// DeleteDelay, PurgeDelay and RecoverDelay are how long the asynchronous
	// operations take; zero means that the next request sees them done.
	DeleteDelay, PurgeDelay, RecoverDelay time.Duration
	// Log gets a line a request at level debug; default none.
	Log *slog.Logger
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Server is a running vault.
type Server struct {
	vault     *vault
	http      *http.Server
	log       *slog.Logger
	url       string
	caFile    string
	temporary string
	closing   chan struct{}
	closeOnce sync.Once
	served    chan error
	faults    faults
}

// Start serves a vault until Close. The error says what is in the way: the
// address, the directory or what is in it.
func Start(cfg Config) (*Server, error) {
	s := &Server{log: cfg.Log, closing: make(chan struct{}), served: make(chan error, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := s.start(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start the vault emulator: %w", err), s.removeTemporary())
	}
	return s, nil
}

func (s *Server) start(cfg Config) error {
	dir := cfg.DataDir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "vault-emulator-"); err != nil {
			return err
		}
		s.temporary = dir
	} else if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	// First: whoever is started by mistake beside another must not touch its file.
	listener, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return err
	}
	if s.vault, err = openVault(cfg, filepath.Join(dir, "secrets.json")); err != nil {
		return errors.Join(err, listener.Close())
	}
	certificate, err := serverCertificate(dir, cfg.Hosts, cfg.Now())
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.caFile = CAFile(dir)
	s.url = "https://" + reachable(listener.Addr(), cfg.Hosts)
	s.http = &http.Server{
		Handler:           s.routes(),
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	go func() { s.served <- s.http.ServeTLS(listener, "", "") }()
	return nil
}

// reachable is the address to call a listener by: one that listens on every
// interface has no address of its own.
func reachable(addr net.Addr, hosts []string) string {
	host, port, _ := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if len(hosts) > 0 {
			host = hosts[0]
		}
	}
	return net.JoinHostPort(host, port)
}

// URL is the vault's address, without a slash at the end.
func (s *Server) URL() string { return s.url }

// CAFile is the PEM file of the authority that signed the server's certificate.
func (s *Server) CAFile() string { return s.caFile }

// Served yields once, when the server has stopped serving, with the reason;
// after Close that is http.ErrServerClosed.
func (s *Server) Served() <-chan error { return s.served }

// Close stops serving: requests under way may finish until ctx ends, requests
// held up by a Fault's Delay are cut. A second Close does nothing.
func (s *Server) Close(ctx context.Context) (err error) {
	s.closeOnce.Do(func() {
		close(s.closing)
		err = s.http.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, s.http.Close())
		}
		err = errors.Join(err, s.removeTemporary())
	})
	return err
}

func (s *Server) removeTemporary() error {
	if s.temporary == "" {
		return nil
	}
	return os.RemoveAll(s.temporary)
}
