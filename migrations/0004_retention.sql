-- What retention has dropped and not yet cleared away.
-- An execution's row goes at once; its steps and letters follow in small batches, however many
-- there are. Until they have, its id stands here, so that a stop in between leaves nothing behind.
-- Ended executions are found by (workflow_id, created), an index that lists need anyway: one on
-- end_time would cost every execution that ends.

CREATE TABLE dropped_executions (
    dropped_at   timestamptz NOT NULL DEFAULT now(),
    execution_id uuid NOT NULL,
    PRIMARY KEY (dropped_at, execution_id)
);
