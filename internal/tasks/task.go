package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/tenantry/tenantry/internal/tenancy"
)

const (
	// maxDeliveries bounds how often asynq delivers one task. How often a job's
	// phase is tried is the job's own count; this only has to be larger.
	maxDeliveries = 1000
	// taskTimeout is beyond any job: asynq's timeout would not end the work but
	// only lose sight of it. Zero would mean asynq's default of half an hour.
	taskTimeout = 24 * time.Hour
	// enqueueTimeout bounds one word with Redis, well within what a transaction of
	// master may idle.
	enqueueTimeout = 3 * time.Second
)

// The queues of a worker's two shares, with their weights: what somebody waits for,
// and what came by the hundred. A weight only says whose turn it is when a slot is
// free; that one is free at all, only a share of one's own ensures.
var (
	interactiveQueues = map[string]int{tenancy.QueueProvision: 2, tenancy.QueueMail: 1}
	bulkQueues        = map[string]int{tenancy.QueueBulk: 2, tenancy.QueueFleet: 1}
)

type payload struct {
	JobID tenancy.JobID `json:"jobId"`
}

func decodePayload(t *asynq.Task) (tenancy.JobID, error) {
	var p payload
	if err := json.Unmarshal(t.Payload(), &p); err != nil || p.JobID == "" {
		return "", errors.New("the payload names no job")
	}
	return p.JobID, nil
}

// OpenRedis connects to the Redis that opt names. It does not wait for an answer. The
// client's own timeouts bound each try; a context's end is only seen between two.
func OpenRedis(opt asynq.RedisConnOpt) (redis.UniversalClient, error) {
	switch o := opt.(type) {
	case asynq.RedisClientOpt:
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = enqueueTimeout, enqueueTimeout, enqueueTimeout
		opt = o
	case asynq.RedisFailoverClientOpt:
		o.DialTimeout, o.ReadTimeout, o.WriteTimeout = enqueueTimeout, enqueueTimeout, enqueueTimeout
		opt = o
	}
	client, ok := opt.MakeRedisClient().(redis.UniversalClient)
	if !ok {
		return nil, errors.New("cannot use REDIS_URL: the client does not know this kind of server")
	}
	return client, nil
}

// enqueue puts a doorbell into Redis. A task that Redis has already is fine: the
// relay before this one died between enqueueing it and saying so.
func enqueue(ctx context.Context, client *asynq.Client, t tenancy.Task) error {
	data, err := json.Marshal(payload{JobID: t.JobID})
	if err != nil {
		return fmt.Errorf("cannot encode a task: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, enqueueTimeout)
	defer cancel()
	_, err = client.EnqueueContext(ctx, asynq.NewTask(t.Type, data),
		asynq.TaskID(t.ID), asynq.Queue(t.Queue), asynq.MaxRetry(maxDeliveries), asynq.Timeout(taskTimeout))
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return fmt.Errorf("cannot enqueue a task: %w", err)
	}
	return nil
}
