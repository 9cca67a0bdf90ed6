DROP INDEX identity.job_failed;
