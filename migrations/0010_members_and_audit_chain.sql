-- Members are listed by role, and the audit log becomes what nobody can change unnoticed.
--
-- Each row's hash covers its content and the hash of the row before, so that the last one stands
-- for all of them. The database itself makes the chain: whoever inserts rows, in whichever release
-- of the service, the triggers below chain them. Writers take turns by the one row of audit_chain,
-- locked for the length of one INSERT; ids are given while it is locked, so their order is that of
-- the commits, and reading upwards from an id misses nothing.

CREATE INDEX community_members_role ON community_members (community_id, role, user_id);

ALTER TABLE audit_log
    ADD COLUMN address     text,
    ADD COLUMN recorded_at timestamptz,
    ADD COLUMN hash        bytea;

-- `last_*` is the row that the next one will follow, `pruned_*` the last one that was pruned: what
-- the first row that is left follows.
CREATE TABLE audit_chain (
    chain       text PRIMARY KEY DEFAULT 'audit_log' CHECK (chain = 'audit_log'),
    last_id     bigint NOT NULL DEFAULT 0,
    last_hash   bytea NOT NULL DEFAULT '',
    recorded_at timestamptz NOT NULL DEFAULT '-infinity',
    pruned_id   bigint NOT NULL DEFAULT 0,
    pruned_hash bytea NOT NULL DEFAULT ''
) WITH (fillfactor = 10);

-- What is hashed after the hash before is a JSON array of the fields, as PostgreSQL writes it, with
-- instants as microseconds since 1970 and `details` as a string. `models/audit_chain.py` computes
-- the same, and does not trust this.
CREATE FUNCTION audit_row_hash(previous bytea, entry audit_log) RETURNS bytea
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN sha256(previous || convert_to(json_build_array(
        entry.audit_id,
        (extract(epoch FROM entry.at) * 1000000)::bigint,
        (extract(epoch FROM entry.recorded_at) * 1000000)::bigint,
        entry.category, entry.action, entry.result, entry.community_id, entry.user_id,
        entry.workflow_id, entry.execution_id, entry.request_id, entry.address,
        entry.details::text)::text, 'UTF8'));
END
$$;

-- What was written before the chain is chained now: from here on it cannot change unnoticed.
DO $$
DECLARE
    entry audit_log;
    tip bytea := '';
    latest timestamptz := '-infinity';
    last bigint := 0;
BEGIN
    FOR entry IN SELECT * FROM audit_log ORDER BY audit_id LOOP
        latest := greatest(latest, entry.at);
        entry.recorded_at := latest;
        tip := audit_row_hash(tip, entry);
        last := entry.audit_id;
        UPDATE audit_log SET recorded_at = latest, hash = tip WHERE audit_id = entry.audit_id;
    END LOOP;
    INSERT INTO audit_chain (last_id, last_hash, recorded_at)
    VALUES (last, tip, latest);
END
$$;

ALTER TABLE audit_log
    ALTER COLUMN recorded_at SET NOT NULL,
    ALTER COLUMN hash SET NOT NULL;

CREATE FUNCTION begin_audit_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head audit_chain;
BEGIN
    SELECT * INTO head FROM audit_chain FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO audit_chain DEFAULT VALUES ON CONFLICT DO NOTHING;
        SELECT * INTO STRICT head FROM audit_chain FOR UPDATE;
    END IF;
    PERFORM set_config('workflow_core.audit_tip',
                       head.last_id || ' ' || encode(head.last_hash, 'hex'), true),
            set_config('workflow_core.audit_time',
                       greatest(head.recorded_at, clock_timestamp())::text, true);
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_rows_1_begin
    BEFORE INSERT ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION begin_audit_rows();

CREATE FUNCTION chain_audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.recorded_at := current_setting('workflow_core.audit_time')::timestamptz;
    NEW.hash := audit_row_hash(
        decode(split_part(current_setting('workflow_core.audit_tip'), ' ', 2), 'hex'), NEW);
    PERFORM set_config('workflow_core.audit_tip',
                       NEW.audit_id || ' ' || encode(NEW.hash, 'hex'), true);
    RETURN NEW;
END
$$;
CREATE TRIGGER audit_rows_2_chain
    BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION chain_audit_row();

CREATE FUNCTION end_audit_rows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    tip text := current_setting('workflow_core.audit_tip');
BEGIN
    UPDATE audit_chain
       SET last_id = split_part(tip, ' ', 1)::bigint,
           last_hash = decode(split_part(tip, ' ', 2), 'hex'),
           recorded_at = current_setting('workflow_core.audit_time')::timestamptz;
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_rows_3_end
    AFTER INSERT ON audit_log FOR EACH STATEMENT EXECUTE FUNCTION end_audit_rows();

CREATE FUNCTION refuse_change_of_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'quart audit prune removes what is old, and says so in the log.';
END
$$;
CREATE TRIGGER audit_log_is_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log FOR EACH STATEMENT
    EXECUTE FUNCTION refuse_change_of_audit_log();

-- The end of the chain moves with the log and by nothing else.
CREATE FUNCTION refuse_change_of_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_trigger_depth() < 2 THEN
        RAISE EXCEPTION 'the audit log is append-only: % of % is refused', TG_OP, TG_TABLE_NAME
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_chain_follows_the_log
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_chain FOR EACH STATEMENT
    EXECUTE FUNCTION refuse_change_of_audit_chain();

-- Lists are read by id, newest first, of all or of a community, a user or an action; by time via
-- `recorded_at`, which never goes back along the ids. Rows that were recorded long after they
-- happened (the database was away) are few, and found by an index of their own.
CREATE INDEX audit_log_community ON audit_log (community_id, audit_id);
CREATE INDEX audit_log_user ON audit_log (user_id, audit_id);
CREATE INDEX audit_log_action ON audit_log (action, audit_id);
CREATE INDEX audit_log_recorded ON audit_log (recorded_at, audit_id);
CREATE INDEX audit_log_late ON audit_log (audit_id)
    WHERE recorded_at - at > interval '1 minute';
