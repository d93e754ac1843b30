-- The first schema. Forward only: a change to it is a new file, never an edit of this one.
-- The rules a row must keep are CHECKs and triggers here, so that no code path can break them.
-- JSON is `json`, not `jsonb`: nothing is searched inside it, and the order of an object's keys is
-- its author's (the transformations of a node run in it).

CREATE TABLE workflows (
    workflow_id       uuid PRIMARY KEY,
    community_id      bigint NOT NULL,
    entity_id         bigint,
    name              text NOT NULL,
    description       text,
    status            text NOT NULL DEFAULT 'draft'
                      CHECK (status IN ('draft', 'active', 'archived')),
    document          json NOT NULL,
    version           integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    published_version integer,
    tags              text[] NOT NULL DEFAULT '{}',
    created_by        bigint NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    published_at      timestamptz,
    CONSTRAINT workflows_active_is_published
        CHECK (status <> 'active' OR published_version IS NOT NULL),
    CONSTRAINT workflows_published_together
        CHECK ((published_version IS NULL) = (published_at IS NULL))
);
CREATE INDEX workflows_community ON workflows (community_id, created_at DESC, workflow_id);

CREATE TABLE workflow_versions (
    workflow_id  uuid NOT NULL REFERENCES workflows,
    version      integer NOT NULL CHECK (version >= 1),
    document     json NOT NULL,
    published_by bigint NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (workflow_id, version)
);

CREATE TABLE workflow_permissions (
    permission_id          uuid PRIMARY KEY,
    workflow_id            uuid NOT NULL REFERENCES workflows ON DELETE CASCADE,
    permission_type        text NOT NULL
                           CHECK (permission_type IN ('user', 'role', 'community')),
    target_id              text NOT NULL,
    can_view               boolean NOT NULL DEFAULT false,
    can_edit               boolean NOT NULL DEFAULT false,
    can_execute            boolean NOT NULL DEFAULT false,
    can_delete             boolean NOT NULL DEFAULT false,
    can_manage_permissions boolean NOT NULL DEFAULT false,
    granted_by             bigint NOT NULL,
    created_at             timestamptz NOT NULL DEFAULT now(),
    UNIQUE (workflow_id, permission_type, target_id)
);

CREATE TABLE community_members (
    community_id bigint NOT NULL,
    user_id      bigint NOT NULL,
    role         text NOT NULL,
    PRIMARY KEY (community_id, user_id, role)
);

-- The row is rewritten at most flushes: a fifth of each page is kept free so that the new version
-- fits beside the old one and no index is touched (HOT).
CREATE TABLE workflow_executions (
    execution_id            uuid PRIMARY KEY,
    workflow_id             uuid NOT NULL,
    workflow_version        integer NOT NULL,
    workflow_name           text NOT NULL,
    community_id            bigint NOT NULL,
    entity_id               bigint,
    user_id                 bigint NOT NULL,
    triggered_by            text,
    trigger_source          text NOT NULL,
    trigger_node_id         text NOT NULL,
    session_id              text,
    platform                text,
    execution_name          text,
    parent_execution_id     uuid,
    parent_step_key         text,
    retry_of                uuid,
    status                  text NOT NULL
                            CHECK (status IN ('pending', 'running', 'waiting', 'paused',
                                              'completed', 'failed', 'cancelled')),
    input_parameters        json NOT NULL DEFAULT '{}',
    metadata                json NOT NULL DEFAULT '{}',
    created                 timestamptz NOT NULL DEFAULT now(),
    start_time              timestamptz,
    end_time                timestamptz,
    execution_time_seconds  double precision,
    max_execution_seconds   integer NOT NULL CHECK (max_execution_seconds > 0),
    max_parallel_executions integer,
    worker_id               uuid,
    wake_at                 timestamptz,
    cancel_requested_at     timestamptz,
    pause_requested_at      timestamptz,
    recoveries              integer NOT NULL DEFAULT 0,
    last_seq                integer NOT NULL DEFAULT 0,
    nodes_executed          integer NOT NULL DEFAULT 0,
    steps_completed         integer NOT NULL DEFAULT 0,
    steps_failed            integer NOT NULL DEFAULT 0,
    current_step            integer NOT NULL DEFAULT 0,
    total_steps             integer NOT NULL DEFAULT 0,
    engine_seconds          double precision NOT NULL DEFAULT 0,
    final_variables         json,
    final_output            json,
    error_message           text,
    error_code              text,
    error_node_id           text,
    total_cost              double precision NOT NULL DEFAULT 0,
    tokens_used             bigint NOT NULL DEFAULT 0,
    CONSTRAINT workflow_executions_end_time_iff_terminal
        CHECK ((end_time IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
    CONSTRAINT workflow_executions_only_running_has_worker
        CHECK (worker_id IS NULL OR status = 'running')
) WITH (fillfactor = 80);
CREATE INDEX workflow_executions_user
    ON workflow_executions (user_id, created DESC, execution_id);
CREATE INDEX workflow_executions_workflow
    ON workflow_executions (workflow_id, created DESC, execution_id);
CREATE INDEX workflow_executions_community
    ON workflow_executions (community_id, created DESC, execution_id);
CREATE INDEX workflow_executions_pending
    ON workflow_executions (created) WHERE status = 'pending';
CREATE INDEX workflow_executions_due
    ON workflow_executions (wake_at) WHERE status = 'waiting' AND wake_at IS NOT NULL;
CREATE INDEX workflow_executions_worker
    ON workflow_executions (worker_id) WHERE worker_id IS NOT NULL;

CREATE FUNCTION refuse_change_of_terminal_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'execution % has ended as "%" and cannot become "%"',
        OLD.execution_id, OLD.status, NEW.status
        USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER terminal_status_is_final
    BEFORE UPDATE OF status ON workflow_executions FOR EACH ROW
    WHEN (OLD.status IN ('completed', 'failed', 'cancelled') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION refuse_change_of_terminal_status();

-- The journal. No foreign key: it is written in the same transaction as its execution's row, and
-- the check would cost every append. Rows are appended and, by retention, deleted; never changed.
CREATE TABLE workflow_steps (
    execution_id uuid NOT NULL,
    seq          integer NOT NULL CHECK (seq >= 1),
    step_key     text NOT NULL,
    node_id      text NOT NULL,
    node_type    text NOT NULL,
    kind         text NOT NULL
                 CHECK (kind IN ('finished', 'entered', 'iterate', 'waiting', 'retrying',
                                 'intent')),
    status       text NOT NULL
                 CHECK (status IN ('completed', 'failed', 'running', 'waiting', 'cancelled')),
    attempt      integer NOT NULL DEFAULT 1,
    started_at   timestamptz NOT NULL,
    completed_at timestamptz,
    port         text,
    input_data   json,
    output_data  json,
    variables    json,
    details      json,
    error        json,
    error_type   text,
    logs         json,
    wake_at      timestamptz,
    PRIMARY KEY (execution_id, seq)
);

CREATE FUNCTION refuse_change_of_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a recorded step is final: % is append-only', TG_TABLE_NAME
        USING ERRCODE = 'check_violation';
END
$$;
CREATE TRIGGER steps_are_final
    BEFORE UPDATE ON workflow_steps FOR EACH STATEMENT
    EXECUTE FUNCTION refuse_change_of_step();

CREATE TABLE engine_workers (
    worker_id    uuid PRIMARY KEY,
    name         text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    lease_until  timestamptz NOT NULL,
    lock_key     bigint NOT NULL,
    locked_at    timestamptz NOT NULL DEFAULT now(),
    state        text NOT NULL DEFAULT 'alive' CHECK (state IN ('alive', 'dead'))
) WITH (fillfactor = 50);

CREATE TABLE api_keys (
    key_id       uuid PRIMARY KEY,
    prefix       text NOT NULL,
    key_hash     bytea NOT NULL UNIQUE,
    name         text NOT NULL,
    kind         text NOT NULL DEFAULT 'user' CHECK (kind IN ('user', 'service')),
    user_id      bigint NOT NULL,
    community_id bigint,
    scopes       text[] NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL DEFAULT now(),
    created_by   bigint,
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz,
    rotated_to   uuid
);

CREATE TABLE idempotency_keys (
    user_id      bigint NOT NULL,
    workflow_id  uuid NOT NULL,
    key          text NOT NULL,
    request_hash bytea NOT NULL,
    execution_id uuid NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, workflow_id, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);

CREATE TABLE audit_log (
    audit_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at           timestamptz NOT NULL DEFAULT now(),
    category     text NOT NULL,
    action       text NOT NULL,
    result       text NOT NULL,
    community_id bigint,
    user_id      bigint,
    workflow_id  uuid,
    execution_id uuid,
    request_id   text,
    details      json
);
