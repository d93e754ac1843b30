-- As before, but the clock is asked once: it goes on between one column and the next, so that how
-- long a child took was a microsecond more than what lay between its start and its end.
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
           (end_time, execution_time_seconds) = (
               SELECT at, extract(epoch FROM at - start_time)
                 FROM (SELECT greatest(clock_timestamp(), start_time) AS at) moment
                WHERE worker_id IS NULL),
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
