DROP TABLE identity.tenant_audit;
DROP FUNCTION identity.refuse_audit_change();
