DROP TABLE identity.tenant_batch_row;
DROP TABLE identity.tenant_batch;
