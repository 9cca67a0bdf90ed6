DROP TABLE identity.idempotency_key;
DROP TABLE identity.outbox;
DROP TABLE identity.job_phase;
DROP TABLE identity.job;
