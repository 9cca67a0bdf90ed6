package devplane

import (
	"bufio"
	"fmt"
	"net"
	"testing"
)

// redisCommand sends one command and compares the first line of its answer.
func redisCommand(t *testing.T, r *Redis, command, want string) {
	t.Helper()
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "AUTH %s\r\n%s\r\n", r.cfg.Password, command); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(conn)
	lines.Scan()
	lines.Scan()
	if got := lines.Text(); got != want {
		t.Errorf("%s answered %q, want %q", command, got, want)
	}
}

func TestRedisRefusesStrangersAndEvictsNothing(t *testing.T) {
	t.Parallel()
	r := RedisServer(t)
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprint(conn, "PING\r\n"); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(conn)
	lines.Scan()
	if got, want := lines.Text(), "-NOAUTH Authentication required."; got != want {
		t.Errorf("PING without a password answered %q, want %q", got, want)
	}
	redisCommand(t, r, "SET k v EX 100", "+OK")
	redisCommand(t, r, "CONFIG GET maxmemory-policy", "*2")
}
