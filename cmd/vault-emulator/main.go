// Command vault-emulator serves a development Key Vault until it is told to
// stop; see internal/secrets/emulator for what it does and does not do.
//
//	vault-emulator --addr 0.0.0.0:8443 --data-dir /data --host vault
//
// On stdout it prints the vault's URL and the file of its authority, which are
// the KEY_VAULT_URL and KEY_VAULT_CA_FILE of its clients. With --healthcheck it
// asks a running one with the same flags how it is and exits 0 or 1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tenantry/tenantry/internal/secrets/emulator"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage): // the flag package has said why
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "vault-emulator:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage")

// closeTimeout is how long requests under way may take after a signal.
const closeTimeout = 5 * time.Second

type options struct {
	addr        string
	dataDir     string
	hosts       []string
	protected   bool
	delay       time.Duration
	healthcheck bool
}

// run serves until ctx ends, or checks. LOG_LEVEL=debug logs every request.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	opts, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if opts.healthcheck {
		return check(ctx, opts)
	}
	level := slog.LevelInfo
	if getenv("LOG_LEVEL") == "debug" {
		level = slog.LevelDebug
	}
	server, err := emulator.Start(emulator.Config{
		Addr:            opts.addr,
		DataDir:         opts.dataDir,
		Hosts:           opts.hosts,
		PurgeProtection: opts.protected,
		DeleteDelay:     opts.delay,
		PurgeDelay:      opts.delay,
		RecoverDelay:    opts.delay,
		Log:             slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "KEY_VAULT_URL=%s\nKEY_VAULT_CA_FILE=%s\n", server.URL(), server.CAFile())

	var failed error
	select {
	case failed = <-server.Served():
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(failed, server.Close(closing))
}

func parse(args []string, stderr io.Writer) (options, error) {
	var opts options
	flags := flag.NewFlagSet("vault-emulator", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&opts.addr, "addr", "127.0.0.1:8443", "`address` to listen on")
	flags.StringVar(&opts.dataDir, "data-dir", "", "`directory` that keeps secrets and authority; default a temporary one")
	flags.Func("host", "`name` the certificate is valid for besides localhost; repeatable", func(host string) error {
		opts.hosts = append(opts.hosts, host)
		return nil
	})
	flags.BoolVar(&opts.protected, "purge-protection", false, "forbid purging")
	flags.DurationVar(&opts.delay, "delay", 0, "how long deleting, recovering and purging take")
	flags.BoolVar(&opts.healthcheck, "healthcheck", false, "ask a running emulator with the same flags how it is")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return opts, err
		}
		return opts, errUsage
	}
	if flags.NArg() > 0 {
		_, _ = fmt.Fprintf(stderr, "unexpected argument %q\n", flags.Arg(0))
		return opts, errUsage
	}
	if opts.healthcheck && opts.dataDir == "" {
		_, _ = fmt.Fprintln(stderr, "--healthcheck needs --data-dir, which has the authority to trust")
		return opts, errUsage
	}
	return opts, nil
}
