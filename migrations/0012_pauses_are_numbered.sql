-- Pauses have numbers: that an execution is paused, and that it goes on, are events like any other.

-- The numbers of an execution that are no records of steps. Rows are appended and, by retention,
-- deleted. No foreign key, as with the journal.
CREATE TABLE workflow_events (
    execution_id uuid NOT NULL,
    seq          integer NOT NULL CHECK (seq >= 2),
    status       text NOT NULL CHECK (status IN ('pending', 'waiting', 'paused')),
    at           timestamptz NOT NULL,
    PRIMARY KEY (execution_id, seq)
);

-- Whichever statement makes it true takes the next number, in the same transaction: a flush, or a
-- request about an execution that nobody holds. They are rare, so they always tell those who watch,
-- the process of the flush included: it does not know whether the pause had been called off.
CREATE FUNCTION number_a_pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.last_seq := 1 + greatest(NEW.last_seq, (SELECT max(seq) FROM workflow_steps s
                                                 WHERE s.execution_id = NEW.execution_id));
    INSERT INTO workflow_events (execution_id, seq, status, at)
    VALUES (NEW.execution_id, NEW.last_seq, NEW.status, coalesce(NEW.paused_at, clock_timestamp()));
    PERFORM pg_notify('workflow_live', json_build_object(
        'x', json_build_array(json_build_array(NEW.execution_id, NEW.last_seq)))::text);
    RETURN NEW;
END
$$;
CREATE TRIGGER pauses_are_numbered
    BEFORE UPDATE OF status ON workflow_executions FOR EACH ROW
    WHEN ((OLD.status = 'paused') <> (NEW.status = 'paused') AND NEW.end_time IS NULL)
    EXECUTE FUNCTION number_a_pause();
