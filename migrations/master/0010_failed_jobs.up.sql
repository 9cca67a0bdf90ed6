-- The newest failed jobs, which the first page of the console looks for, are few among all.
CREATE INDEX job_failed ON identity.job (job_id) WHERE status = 'failed';
