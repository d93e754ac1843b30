-- Lists of executions: every order a list can have, for one's own executions and for those of a
-- workflow.
-- All columns of an index run the same way, so that "after this row" is one comparison of rows and
-- a page far down the list begins where its cursor says, without reading what lies before. What has
-- not started or ended counts as later than everything: `infinity` instead of NULL keeps it so in
-- one range.
DROP INDEX workflow_executions_user;
DROP INDEX workflow_executions_workflow;
DROP INDEX workflow_executions_community;

CREATE INDEX workflow_executions_created
    ON workflow_executions (created, execution_id);
CREATE INDEX workflow_executions_community
    ON workflow_executions (community_id, created, execution_id);

CREATE INDEX workflow_executions_user
    ON workflow_executions (user_id, created, execution_id);
CREATE INDEX workflow_executions_user_status
    ON workflow_executions (user_id, status, created, execution_id);
CREATE INDEX workflow_executions_user_started
    ON workflow_executions (user_id, (coalesce(start_time, 'infinity')), execution_id);
CREATE INDEX workflow_executions_user_ended
    ON workflow_executions (user_id, (coalesce(end_time, 'infinity')), execution_id);
CREATE INDEX workflow_executions_user_duration
    ON workflow_executions
       (user_id, (coalesce(execution_time_seconds, 'infinity')), execution_id);

CREATE INDEX workflow_executions_workflow
    ON workflow_executions (workflow_id, created, execution_id);
CREATE INDEX workflow_executions_workflow_status
    ON workflow_executions (workflow_id, status, created, execution_id);
CREATE INDEX workflow_executions_workflow_started
    ON workflow_executions (workflow_id, (coalesce(start_time, 'infinity')), execution_id);
CREATE INDEX workflow_executions_workflow_ended
    ON workflow_executions (workflow_id, (coalesce(end_time, 'infinity')), execution_id);
CREATE INDEX workflow_executions_workflow_duration
    ON workflow_executions
       (workflow_id, (coalesce(execution_time_seconds, 'infinity')), execution_id);

-- Which workflows somebody may view is asked with every list.
CREATE INDEX workflows_owner ON workflows (created_by, community_id);
CREATE INDEX workflow_permissions_target ON workflow_permissions (permission_type, target_id);
CREATE INDEX community_members_user ON community_members (user_id);

-- When a record was written: the difference to `completed_at` is what durability took. Records
-- from before this migration do not know.
ALTER TABLE workflow_steps ADD COLUMN recorded_at timestamptz;
ALTER TABLE workflow_steps ALTER COLUMN recorded_at SET DEFAULT now();

-- The records of a step before its last one, for pages of steps. Few steps have any, so the others
-- do not pay.
CREATE INDEX workflow_steps_unfinished
    ON workflow_steps (execution_id, step_key, seq) WHERE kind <> 'finished';

-- Secrets that all processes must share and nobody needs to know, made where they are first needed.
CREATE TABLE service_secrets (
    name       text PRIMARY KEY,
    secret     bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
