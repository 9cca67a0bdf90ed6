package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// measureIdle is the memory and the processor time of an api and a worker that have
// nothing to do, with a full pool, and the processor time of their Redis.
func measureIdle(ctx context.Context, b *bench) error {
	p := b.warm
	if err := p.quiet(ctx); err != nil {
		return err
	}
	// For the runtime to give back what the start took.
	if err := pause(ctx, time.Duration(b.rounds(5, 1))*time.Second); err != nil {
		return err
	}
	redisPID, err := p.redisPID(ctx)
	if err != nil {
		return err
	}
	pids := []int{p.api.pid(), p.workers[0].pid(), redisPID}
	shares, err := processorShares(ctx, time.Duration(b.rounds(10, 3))*time.Second, pids...)
	if err != nil {
		return err
	}
	var resident [2]float64
	for i := range resident {
		if resident[i], err = residentMB(pids[i]); err != nil {
			return err
		}
	}
	l := line{target: idleMemory, value: resident[0] + resident[1], n: 1}
	l.measured = fmt.Sprintf("%.0f + %.0f MB", resident[0], resident[1])
	b.add(l.judged())
	for i, name := range []string{"api", "worker", "redis-server"} {
		b.add(line{target: target{what: "idle " + name + ", processor", unit: " % of a core"}, value: shares[i], n: 1})
	}
	return nil
}

// redisPID asks the plane's Redis for it.
func (p *plane) redisPID(ctx context.Context) (int, error) {
	options, err := redis.ParseURL(p.ready.RedisURL)
	if err != nil {
		return 0, err
	}
	c := redis.NewClient(options)
	defer func() { _ = c.Close() }() // it was asked one thing
	info, err := c.Info(ctx, "server").Result()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(infoField(info, "process_id"))
}

// infoField is a field of what INFO says.
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// residentMB is a process's resident memory.
func residentMB(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		var kb float64
		if n, _ := fmt.Sscanf(lines.Text(), "VmRSS: %f kB", &kb); n == 1 {
			return kb / 1024, nil
		}
	}
	return 0, errors.New("no VmRSS in /proc")
}

// processorShares is what part of a core each process uses for so long, in percent.
func processorShares(ctx context.Context, span time.Duration, pids ...int) ([]float64, error) {
	shares := make([]float64, len(pids))
	began := time.Now()
	for i, pid := range pids {
		used, err := processorSeconds(pid)
		if err != nil {
			return nil, err
		}
		shares[i] = -used
	}
	if err := pause(ctx, span); err != nil {
		return nil, err
	}
	for i, pid := range pids {
		used, err := processorSeconds(pid)
		if err != nil {
			return nil, err
		}
		shares[i] = 100 * (shares[i] + used) / time.Since(began).Seconds()
	}
	return shares, nil
}

// processorSeconds is what a process has used so far, in steps of 10 ms.
func processorSeconds(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	const hertz = 100 // USER_HZ of every Linux that Go runs on
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest) // from the third, the state
	if len(fields) < 13 {
		return 0, errors.New("cannot read /proc/…/stat")
	}
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	return (user + system) / hertz, errors.Join(err1, err2)
}
