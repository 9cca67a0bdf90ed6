package app

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/internal/config"
	"github.com/tenantry/tenantry/internal/tasks"
)

// openRedis connects to Redis, and has its client log as everything else does.
func openRedis(cfg config.Config, log *slog.Logger) (redis.UniversalClient, error) {
	redis.SetLogger(redisLogger{log})
	opt, err := config.ParseRedisURL(cfg.RedisURL)
	if err != nil {
		return nil, err
	}
	return tasks.OpenRedis(opt)
}

// redisLogger passes the client's own messages on. They tell of connections lost
// and found, which the relay and the worker tell too.
type redisLogger struct{ log *slog.Logger }

func (l redisLogger) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, fmt.Sprintf(format, v...), "component", "redis")
}
