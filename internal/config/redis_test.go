package config_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hibiken/asynq"

	"github.com/tenantry/tenantry/internal/config"
)

func TestParseRedisURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]asynq.RedisConnOpt{
		"redis://h":                  asynq.RedisClientOpt{Network: "tcp", Addr: "h:6379"},
		"redis://h/":                 asynq.RedisClientOpt{Network: "tcp", Addr: "h:6379"},
		"redis://h:7000/":            asynq.RedisClientOpt{Network: "tcp", Addr: "h:7000"},
		"redis://h:7000/3":           asynq.RedisClientOpt{Network: "tcp", Addr: "h:7000", DB: 3},
		"redis://[::1]":              asynq.RedisClientOpt{Network: "tcp", Addr: "[::1]:6379"},
		"redis://:pw@h:7000":         asynq.RedisClientOpt{Network: "tcp", Addr: "h:7000", Password: "pw"},
		"redis://me:p%40w@h":         asynq.RedisClientOpt{Network: "tcp", Addr: "h:6379", Username: "me", Password: "p@w"},
		"rediss://me:pw@h/1":         asynq.RedisClientOpt{Network: "tcp", Addr: "h:6379", Username: "me", Password: "pw", DB: 1, TLSConfig: &tls.Config{ServerName: "h", MinVersion: tls.VersionTLS12}},
		"redis-socket:///run/r?db=2": asynq.RedisClientOpt{Network: "unix", Addr: "/run/r", DB: 2},
		"redis-sentinel://h1:1,h2:2/?master=m": asynq.RedisFailoverClientOpt{
			MasterName: "m", SentinelAddrs: []string{"h1:1", "h2:2"},
		},
		"redis-sentinel://:spw@h1:1,h2:2/?master=m&username=me&password=pw&db=2": asynq.RedisFailoverClientOpt{
			MasterName: "m", SentinelAddrs: []string{"h1:1", "h2:2"}, SentinelPassword: "spw", Username: "me", Password: "pw", DB: 2,
		},
	} {
		got, err := config.ParseRedisURL(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(tls.Config{})); diff != "" {
			t.Errorf("%s:\n%s", url, diff)
		}
	}
	for _, url := range []string{
		"", "::canary", "http://:canary@h", "redis://h:6379/canary", "redis://:can%zzary@h", "redis-socket://canary@",
		"redis-sentinel://:canary@h:1/?master=m&db=x",
	} {
		if _, err := config.ParseRedisURL(url); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", url, err)
		}
	}
}
