DROP TABLE identity.audit_head;
DROP TABLE identity.tenant_audit CASCADE;
DROP FUNCTION identity.refuse_audit_change();
DROP FUNCTION identity.link_audit();
