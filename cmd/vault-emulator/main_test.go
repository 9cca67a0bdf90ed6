package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tenantry/tenantry/internal/secrets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func noenv(string) string { return "" }

func TestServesUntilTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, stdout := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"--addr", "127.0.0.1:0", "--data-dir", dir, "--host", "vault"}, noenv, stdout, io.Discard)
	}()

	vars := map[string]string{}
	lines := bufio.NewScanner(out)
	for len(vars) < 2 && lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), "=")
		vars[key] = value
	}
	// What it prints is all a client needs.
	vault, err := secrets.Open(secrets.Config{URL: vars["KEY_VAULT_URL"], CAFile: vars["KEY_VAULT_CA_FILE"]})
	if err != nil {
		t.Fatal(err)
	}
	defer vault.Close()
	if err := vault.Set(t.Context(), "s", "v"); err != nil {
		t.Fatal(err)
	}
	address, err := url.Parse(vars["KEY_VAULT_URL"])
	if err != nil {
		t.Fatal(err)
	}
	health := []string{"--healthcheck", "--data-dir", dir, "--addr", net.JoinHostPort("0.0.0.0", address.Port())}
	if err := run(t.Context(), health, noenv, io.Discard, io.Discard); err != nil {
		t.Errorf("healthcheck: %v", err)
	}

	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if err := run(t.Context(), health, noenv, io.Discard, io.Discard); err == nil {
		t.Error("healthy after its end")
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--nonsense"}, {"extra"}, {"--healthcheck"}} {
		var said strings.Builder
		if err := run(t.Context(), args, noenv, io.Discard, &said); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
		if said.Len() == 0 {
			t.Errorf("%v: says nothing", args)
		}
	}
}
