-- Live updates across processes: who watches, and who knows that somebody does.

-- A process with open streams keeps a row here. Workers read it with their regular look: while no
-- other process watches, their flushes notify nobody.
CREATE TABLE live_watchers (
    process_id uuid PRIMARY KEY,
    until      timestamptz NOT NULL
);

-- Whether a worker's flushes tell the watchers. A watcher waits for it before it calls itself live.
-- A worker of an older version never sets it, so nobody takes its silence for quiet.
ALTER TABLE engine_workers ADD COLUMN telling boolean NOT NULL DEFAULT false;

-- Ends that no flush writes: of an execution that nobody held (a cancellation, also by its parent's
-- end), and of one that was given up. They are rare, so they always tell.
CREATE FUNCTION tell_of_an_unheld_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('workflow_live', json_build_object(
        'x', json_build_array(json_build_array(NEW.execution_id, NEW.last_seq)))::text);
    RETURN NULL;
END
$$;
CREATE TRIGGER watchers_hear_of_an_unheld_end
    AFTER UPDATE OF status ON workflow_executions FOR EACH ROW
    WHEN (NEW.status IN ('completed', 'failed', 'cancelled') AND OLD.status <> NEW.status
          AND (OLD.worker_id IS NULL OR NEW.error_code = 'WORKER_LOST'))
    EXECUTE FUNCTION tell_of_an_unheld_end();
