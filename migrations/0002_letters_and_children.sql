-- Signals, child executions and error workflows.
-- Whatever ends an execution (its worker's flush, a cancellation, a sweeper's verdict), its parent
-- is told and its children are cancelled in the same transaction: hence triggers, which no path
-- can forget. Executions without family do not pay for them.

ALTER TABLE workflow_executions
    ADD COLUMN depth             integer NOT NULL DEFAULT 0 CHECK (depth >= 0),
    ADD COLUMN error_workflow_id uuid,
    ADD COLUMN error_answered    boolean NOT NULL DEFAULT false,
    ADD COLUMN letters           integer NOT NULL DEFAULT 0,
    -- How often it was claimed. A flush names the claim it was written under: the copy of one that
    -- was given up and repeated must not touch what the same worker has claimed again since.
    ADD COLUMN claims            integer NOT NULL DEFAULT 0,
    ADD COLUMN has_children      boolean NOT NULL DEFAULT false;

CREATE INDEX workflow_executions_parent
    ON workflow_executions (parent_execution_id) WHERE parent_execution_id IS NOT NULL;
CREATE INDEX workflow_executions_unanswered
    ON workflow_executions (end_time)
    WHERE status = 'failed' AND error_workflow_id IS NOT NULL AND NOT error_answered;

-- What somebody outside has to say to an execution. `workflow_executions.letters` counts the rows,
-- so that one comparison under the row's lock tells whether an execution parks with a letter
-- unread: no wake-up is lost, whoever comes first.
CREATE TABLE workflow_letters (
    execution_id uuid NOT NULL,
    number       integer NOT NULL,
    letter_id    uuid NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('signal', 'child')),
    name         text NOT NULL,
    payload      json,
    sent_by      bigint,
    sent_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (execution_id, number),
    UNIQUE (execution_id, letter_id)
);

CREATE FUNCTION cancel_children(parent uuid) RETURNS void LANGUAGE plpgsql AS $$
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
           wake_at = CASE WHEN worker_id IS NULL THEN NULL ELSE wake_at END
     WHERE parent_execution_id = parent AND parent_step_key IS NOT NULL
       AND end_time IS NULL;
END
$$;

CREATE FUNCTION a_child_was_born() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE workflow_executions SET has_children = true
     WHERE execution_id = NEW.parent_execution_id AND NOT has_children;
    -- A flush may create a child and end its parent: whether the parent's own trigger fires was
    -- decided before it had a child.
    IF NEW.end_time IS NULL AND EXISTS (SELECT 1 FROM workflow_executions
                                         WHERE execution_id = NEW.parent_execution_id
                                           AND end_time IS NOT NULL) THEN
        PERFORM cancel_children(NEW.parent_execution_id);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER parents_know_their_children
    AFTER INSERT ON workflow_executions FOR EACH ROW
    WHEN (NEW.parent_step_key IS NOT NULL)
    EXECUTE FUNCTION a_child_was_born();

CREATE FUNCTION an_execution_has_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    place integer;
BEGIN
    IF NEW.parent_step_key IS NOT NULL THEN
        UPDATE workflow_executions
           SET letters = letters + 1,
               wake_at = CASE WHEN status = 'waiting' THEN clock_timestamp() ELSE wake_at END
         WHERE execution_id = NEW.parent_execution_id AND end_time IS NULL
        RETURNING letters INTO place;
        IF FOUND THEN
            INSERT INTO workflow_letters (execution_id, number, letter_id, kind, name, payload)
            VALUES (NEW.parent_execution_id, place, NEW.execution_id, 'child',
                    NEW.parent_step_key,
                    json_build_object('status', NEW.status, 'output', NEW.final_output,
                                      'workflow_name', NEW.workflow_name,
                                      'error_message', NEW.error_message,
                                      'error_code', NEW.error_code,
                                      'error_node_id', NEW.error_node_id));
            PERFORM pg_notify('workflow_engine', 'letter:' || NEW.parent_execution_id);
        END IF;
    END IF;
    IF NEW.has_children THEN
        PERFORM cancel_children(NEW.execution_id);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER families_hear_of_an_end
    AFTER UPDATE OF status ON workflow_executions FOR EACH ROW
    WHEN (NEW.status IN ('completed', 'failed', 'cancelled') AND OLD.status <> NEW.status
          AND (NEW.parent_step_key IS NOT NULL OR NEW.has_children))
    EXECUTE FUNCTION an_execution_has_ended();
CREATE TRIGGER families_hear_of_a_short_life
    AFTER INSERT ON workflow_executions FOR EACH ROW
    WHEN (NEW.status IN ('completed', 'failed', 'cancelled') AND NEW.parent_step_key IS NOT NULL)
    EXECUTE FUNCTION an_execution_has_ended();
