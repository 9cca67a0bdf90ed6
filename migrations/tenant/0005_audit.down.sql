DROP TABLE audit.event;
DROP FUNCTION audit.refuse_change();
DROP SCHEMA audit;
