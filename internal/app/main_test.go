package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/tenantry/tenantry/internal/config"
)

// deafEnv makes this test binary a process that is told to stop and goes on.
const deafEnv = "APP_TEST_DEAF"

func TestMain(m *testing.M) {
	if os.Getenv(deafEnv) == "" {
		os.Exit(m.Run())
	}
	os.Exit(Main("deaf", nil, func(ctx context.Context, _ config.Config, _ *slog.Logger) error {
		fmt.Println("ready")
		<-ctx.Done()
		fmt.Println("told")
		select {}
	}))
}

func TestASecondSignalEndsAProcessThatHangs(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	deaf := exec.CommandContext(ctx, os.Args[0])
	deaf.Env = append(os.Environ(), deafEnv+"=1")
	deaf.Stderr = os.Stderr
	out, err := deaf.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := deaf.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewScanner(out)
	await := func(word string) {
		if !said.Scan() || said.Text() != word {
			t.Errorf("it said %q, want %q", said.Text(), word)
		}
	}
	await("ready")
	_ = deaf.Process.Signal(syscall.SIGTERM)
	await("told")
	ended := make(chan error, 1)
	go func() { ended <- deaf.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			exit, ok := errors.AsType[*exec.ExitError](err)
			if !ok || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
				t.Errorf("it ended with %v", err)
			}
			return
		case <-tick.C: // the first one may just have been taken by the context
			_ = deaf.Process.Signal(syscall.SIGTERM)
		}
	}
}
