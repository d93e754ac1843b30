-- Pausing, queues that are fair between communities, and keys that stand for whole batches.

ALTER TABLE workflow_executions
    ADD COLUMN paused_at      timestamptz,
    -- What the clock of max_execution_seconds does not count.
    ADD COLUMN paused_seconds double precision NOT NULL DEFAULT 0 CHECK (paused_seconds >= 0),
    ADD CONSTRAINT workflow_executions_paused_since_when
        CHECK ((paused_at IS NOT NULL) = (status = 'paused'));

-- Who waits, by community: the claim takes from each in turn, so it must find the next community
-- and its oldest execution without reading the others'. Executions of workflows with a limit have
-- an index of their own, which also tells how many of them are live.
DROP INDEX workflow_executions_pending;
CREATE INDEX workflow_executions_queue
    ON workflow_executions (community_id, created)
    WHERE status = 'pending' AND max_parallel_executions IS NULL;
CREATE INDEX workflow_executions_limited
    ON workflow_executions (community_id, workflow_id, created)
    WHERE end_time IS NULL AND max_parallel_executions IS NOT NULL;

-- What a request with this key was answered, if the answer cannot be told from its execution: the
-- items of a batch.
ALTER TABLE idempotency_keys ADD COLUMN answer json;

-- As before, and a child that is paused is no longer that when it is cancelled.
CREATE OR REPLACE FUNCTION cancel_children(parent uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    -- One statement for children that run and children that nobody holds: which of the two a
    -- child is may change until its row is locked.
    PERFORM pg_notify('workflow_engine', 'cancel:' || execution_id)
       FROM (SELECT execution_id FROM workflow_executions
              WHERE parent_execution_id = parent AND parent_step_key IS NOT NULL
                AND worker_id IS NOT NULL) busy;
    UPDATE workflow_executions e
       SET cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp()),
           status = CASE WHEN worker_id IS NULL THEN 'cancelled' ELSE status END,
           end_time = CASE WHEN worker_id IS NULL
                           THEN greatest(clock_timestamp(), start_time) END,
           execution_time_seconds =
               CASE WHEN worker_id IS NULL
                    THEN extract(epoch FROM greatest(clock_timestamp(), start_time)
                                            - start_time) END,
           last_seq = CASE WHEN worker_id IS NULL
                           THEN 1 + greatest(last_seq, (SELECT max(seq) FROM workflow_steps s
                                                         WHERE s.execution_id = e.execution_id))
                           ELSE last_seq END,
           wake_at = CASE WHEN worker_id IS NULL THEN NULL ELSE wake_at END,
           paused_at = NULL
     WHERE parent_execution_id = parent AND parent_step_key IS NOT NULL
       AND end_time IS NULL;
END
$$;
