-- Webhooks out, and alerts.
-- An execution ends by many statements (its worker's flush, a cancellation, a sweeper's verdict,
-- its parent's end): so what others are told of it is written by a trigger, which no path can
-- forget, in the same transaction. A community without webhooks and alerts pays two index probes.
-- There are no foreign keys: a check that fails here would fail the flush of a whole process.

CREATE TABLE webhooks (
    webhook_id       uuid PRIMARY KEY,
    community_id     bigint NOT NULL,
    workflow_id      uuid,
    url              text NOT NULL,
    events           text[] NOT NULL,
    secret           text NOT NULL,
    old_secret       text,
    old_secret_until timestamptz,
    created_by       bigint NOT NULL,
    -- Through whose eyes it looks: it is told of what this user may see, or of everything.
    seen_by          bigint NOT NULL,
    sees_all         boolean NOT NULL,
    enabled          boolean NOT NULL DEFAULT true,
    disabled_reason  text,
    disabled_at      timestamptz,
    failing_since    timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT webhooks_old_secret_until_when
        CHECK ((old_secret IS NULL) = (old_secret_until IS NULL)),
    CONSTRAINT webhooks_disabled_since_when CHECK (enabled = (disabled_at IS NULL)),
    CONSTRAINT webhooks_disabled_why CHECK (enabled = (disabled_reason IS NULL))
);
CREATE INDEX webhooks_community ON webhooks (community_id, created_at DESC, webhook_id);
CREATE INDEX webhooks_seen_by ON webhooks (seen_by, created_at DESC, webhook_id);

-- The outbox. `claims` numbers the tries of a delivery's whole life: what a try records counts only
-- while its number is the latest. `attempts` begins anew with a replay. While a try is under way,
-- `due_at` is when its lease ends.
CREATE TABLE webhook_deliveries (
    delivery_id      uuid PRIMARY KEY,
    webhook_id       uuid NOT NULL,
    event            text NOT NULL,
    execution_id     uuid,
    alert_id         uuid,
    payload          text NOT NULL,
    status           text NOT NULL DEFAULT 'pending'
                     CHECK (status IN ('pending', 'delivered', 'failed')),
    attempts         integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    claims           integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    due_at           timestamptz DEFAULT now(),
    first_attempt_at timestamptz,
    last_attempt_at  timestamptz,
    settled_at       timestamptz,
    response_status  integer,
    response_body    text,
    error            text,
    duration_seconds double precision,
    CONSTRAINT webhook_deliveries_due_iff_pending
        CHECK ((due_at IS NOT NULL) = (status = 'pending')),
    CONSTRAINT webhook_deliveries_settled_iff_not_pending
        CHECK ((settled_at IS NULL) = (status = 'pending'))
);
CREATE INDEX webhook_deliveries_list
    ON webhook_deliveries (webhook_id, created_at DESC, delivery_id);
CREATE INDEX webhook_deliveries_list_by_status
    ON webhook_deliveries (webhook_id, status, created_at DESC, delivery_id);
CREATE INDEX webhook_deliveries_waiting
    ON webhook_deliveries (webhook_id, due_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (due_at) WHERE status = 'pending';
CREATE INDEX webhook_deliveries_age
    ON webhook_deliveries (settled_at) WHERE settled_at IS NOT NULL;

CREATE TABLE alerts (
    alert_id        uuid PRIMARY KEY,
    community_id    bigint NOT NULL,
    workflow_id     uuid,
    metric          text NOT NULL
                    CHECK (metric IN ('failure_rate', 'failures', 'duration_p95',
                                      'no_success_for')),
    threshold       double precision NOT NULL CHECK (threshold > 0),
    window_seconds  integer NOT NULL CHECK (window_seconds BETWEEN 60 AND 86400),
    min_count       integer NOT NULL CHECK (min_count >= 0),
    notify          uuid[] NOT NULL,
    created_by      bigint NOT NULL,
    seen_by         bigint NOT NULL,
    sees_all        boolean NOT NULL,
    enabled         boolean NOT NULL DEFAULT true,
    state           text NOT NULL DEFAULT 'ok' CHECK (state IN ('ok', 'firing')),
    state_since     timestamptz NOT NULL DEFAULT now(),
    -- What the last evaluation found, and since when there is something to be found.
    value           double precision,
    executions      integer,
    evaluated_at    timestamptz,
    counting_since  timestamptz NOT NULL DEFAULT now(),
    last_success_at timestamptz,
    due_at          timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX alerts_community ON alerts (community_id, created_at DESC, alert_id);
CREATE INDEX alerts_seen_by ON alerts (seen_by, created_at DESC, alert_id);
CREATE INDEX alerts_due ON alerts (due_at) WHERE enabled;

-- The ends of executions that an alert looks at. An index of executions by the time of their end
-- would cost every execution; this costs those of communities that have an alert.
CREATE TABLE alert_samples (
    alert_id         uuid NOT NULL,
    ended_at         timestamptz NOT NULL,
    execution_id     uuid NOT NULL,
    failed           boolean NOT NULL,
    duration_seconds double precision,
    PRIMARY KEY (alert_id, ended_at, execution_id)
);

CREATE TABLE alert_history (
    change_id      uuid PRIMARY KEY,
    alert_id       uuid NOT NULL,
    event          text NOT NULL CHECK (event IN ('fired', 'recovered')),
    at             timestamptz NOT NULL,
    metric         text NOT NULL,
    threshold      double precision NOT NULL,
    window_seconds integer NOT NULL,
    value          double precision,
    executions     integer NOT NULL
);
CREATE INDEX alert_history_list ON alert_history (alert_id, at DESC, change_id);
CREATE INDEX alert_history_age ON alert_history (at);

-- A UUID of version 7 (RFC 9562): 48 bits of milliseconds before what is random. Version 4 becomes
-- version 7 by the two bits that distinguish them.
CREATE FUNCTION uuid_by_time() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT encode(
        set_bit(set_bit(
            substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
            || substring(uuid_send(gen_random_uuid()) FROM 7), 52, 1), 53, 1),
        'hex')::uuid
$$;

CREATE FUNCTION rfc3339(moment timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
$$;

-- The rule of the permission service, for the moment at which an execution ends: what stands in
-- the tables counts, for there is no credential here whose roles could.
CREATE FUNCTION may_view_workflow(viewer bigint, community bigint, workflow uuid)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM workflows w
         WHERE w.workflow_id = workflow AND w.community_id = community
           AND (w.created_by = viewer
                OR EXISTS (
                    SELECT 1 FROM workflow_permissions p
                     WHERE p.workflow_id = w.workflow_id AND p.can_view
                       AND CASE p.permission_type
                           WHEN 'user' THEN p.target_id = viewer::text
                           WHEN 'role' THEN EXISTS (
                               SELECT 1 FROM community_members m
                                WHERE m.community_id = community AND m.user_id = viewer
                                  AND m.role = p.target_id)
                           WHEN 'community' THEN p.target_id = community::text
                               AND (EXISTS (SELECT 1 FROM community_members m
                                             WHERE m.community_id = community
                                               AND m.user_id = viewer)
                                    OR EXISTS (SELECT 1 FROM workflows o
                                                WHERE o.community_id = community
                                                  AND o.created_by = viewer)
                                    OR EXISTS (SELECT 1 FROM workflow_permissions g
                                                 JOIN workflows o USING (workflow_id)
                                                WHERE g.permission_type = 'user'
                                                  AND g.target_id = viewer::text
                                                  AND o.community_id = community))
                           END)))
$$;

-- What is told of an execution: the item of the lists, every text cut, so that a payload stays
-- below 32 KiB whatever the execution was.
CREATE FUNCTION execution_payload(e workflow_executions) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object(
        'type', 'execution.' || e.status,
        'timestamp', rfc3339(e.end_time),
        'data', json_build_object(
            'id', e.execution_id,
            'execution_id', e.execution_id,
            'execution_name', left(e.execution_name, 255),
            'workflow_id', e.workflow_id,
            'workflow_template_id', e.workflow_id,
            'workflow_name', left(e.workflow_name, 255),
            'workflow_version', e.workflow_version,
            'status', e.status,
            'created', rfc3339(e.created),
            'started_at', rfc3339(e.start_time),
            'start_time', rfc3339(e.start_time),
            'completed_at', rfc3339(e.end_time),
            'end_time', rfc3339(e.end_time),
            'duration', e.execution_time_seconds,
            'total_duration', e.execution_time_seconds,
            'triggered_by', left(e.triggered_by, 255),
            'trigger_source', left(e.trigger_source, 255),
            'user_id', e.user_id,
            'community_id', e.community_id,
            'session_id', left(e.session_id, 255),
            'parent_execution_id', e.parent_execution_id,
            'retry_of', e.retry_of,
            'progress', json_build_object(
                'current_step', CASE WHEN e.status = 'completed' THEN e.total_steps
                                     ELSE e.current_step END,
                'total_steps', e.total_steps,
                'percentage', CASE WHEN e.status = 'completed' THEN 100.0
                                   WHEN e.total_steps = 0 THEN 0.0
                                   ELSE round(100.0 * e.current_step / e.total_steps, 1) END),
            'steps_completed', e.steps_completed,
            'steps_failed', e.steps_failed,
            'total_cost', e.total_cost,
            'tokens_used', e.tokens_used,
            'error', left(e.error_message, 1000),
            'error_code', left(e.error_code, 255),
            'error_node_id', left(e.error_node_id, 255)))::text
$$;

CREATE FUNCTION others_hear_of_an_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told    boolean;
    watched boolean;
BEGIN
    SELECT EXISTS (SELECT 1 FROM webhooks WHERE community_id = NEW.community_id AND enabled),
           EXISTS (SELECT 1 FROM alerts WHERE community_id = NEW.community_id AND enabled)
      INTO told, watched;
    IF told THEN
        INSERT INTO webhook_deliveries (delivery_id, webhook_id, event, execution_id, payload)
        SELECT uuid_by_time(), w.webhook_id, 'execution.' || NEW.status, NEW.execution_id,
               (SELECT execution_payload(NEW))  -- so that it is written once for all of them
          FROM webhooks w
         WHERE w.community_id = NEW.community_id AND w.enabled
           AND (w.workflow_id IS NULL OR w.workflow_id = NEW.workflow_id)
           AND 'execution.' || NEW.status = ANY (w.events)
           AND (w.sees_all OR w.seen_by = NEW.user_id
                OR may_view_workflow(w.seen_by, NEW.community_id, NEW.workflow_id));
        IF FOUND THEN
            PERFORM pg_notify('webhook_deliveries', '');
        END IF;
    END IF;
    IF watched AND NEW.status <> 'cancelled' THEN
        INSERT INTO alert_samples (alert_id, ended_at, execution_id, failed, duration_seconds)
        SELECT a.alert_id, NEW.end_time, NEW.execution_id, NEW.status = 'failed',
               NEW.execution_time_seconds
          FROM alerts a
         WHERE a.community_id = NEW.community_id AND a.enabled
           AND (a.workflow_id IS NULL OR a.workflow_id = NEW.workflow_id)
           AND (a.sees_all OR a.seen_by = NEW.user_id
                OR may_view_workflow(a.seen_by, NEW.community_id, NEW.workflow_id))
            ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER others_hear_of_an_end
    AFTER UPDATE OF status ON workflow_executions FOR EACH ROW
    WHEN (OLD.end_time IS NULL AND NEW.end_time IS NOT NULL)
    EXECUTE FUNCTION others_hear_of_an_end();
CREATE TRIGGER others_hear_of_a_short_life
    AFTER INSERT ON workflow_executions FOR EACH ROW
    WHEN (NEW.end_time IS NOT NULL)
    EXECUTE FUNCTION others_hear_of_an_end();
