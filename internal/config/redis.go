package config

import (
	"errors"
	"net/url"
	"strconv"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

var errRedisURL = errors.New("REDIS_URL is no redis, rediss, redis-socket or redis-sentinel URL")

// ParseRedisURL reads a REDIS_URL. redis and rediss URLs mean what they mean to Redis'
// own clients: a user, a port of 6379 and the database 0 unless they say otherwise. A
// redis-sentinel URL has the sentinels' password before the hosts; the data nodes' user,
// password and database are its parameters username, password and db. The error never
// quotes the URL.
func ParseRedisURL(redisURL string) (asynq.RedisConnOpt, error) {
	u, err := url.Parse(redisURL)
	if err != nil {
		return nil, errRedisURL
	}
	if u.Scheme == "redis" || u.Scheme == "rediss" {
		o, err := redis.ParseURL(redisURL)
		if err != nil {
			return nil, errRedisURL
		}
		return asynq.RedisClientOpt{
			Network: o.Network, Addr: o.Addr, Username: o.Username, Password: o.Password, DB: o.DB, TLSConfig: o.TLSConfig,
			DialTimeout: o.DialTimeout, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout, PoolSize: o.PoolSize,
		}, nil
	}
	opt, err := asynq.ParseRedisURI(redisURL)
	if err != nil {
		return nil, errRedisURL
	}
	if sentinel, ok := opt.(asynq.RedisFailoverClientOpt); ok {
		sentinel.Username, sentinel.Password = u.Query().Get("username"), u.Query().Get("password")
		if db := u.Query().Get("db"); db != "" {
			if sentinel.DB, err = strconv.Atoi(db); err != nil {
				return nil, errRedisURL
			}
		}
		return sentinel, nil
	}
	return opt, nil
}
