-- How many bytes the executions of each community keep, for its quota: counted when an execution is
-- parked, gets a letter, ends, or is removed, by the statement that does it and in its transaction, so
-- that no path, no crash and no deletion by hand can leave the count wrong.

-- Bytes of JSON that it was given and has recorded, as of when it was parked or ended last. Null
-- before that, after its worker was lost or let it go, and of what ended before there was this
-- column: of such a row nothing is counted but its letters.
ALTER TABLE workflow_executions ADD COLUMN recorded_bytes bigint;

-- How long the payloads of its letters are: written where `letters` is, which counts them.
ALTER TABLE workflow_executions ADD COLUMN letter_bytes bigint NOT NULL DEFAULT 0;

CREATE TABLE community_history (
    community_id bigint  NOT NULL,
    -- See rollup_lane(). A lane alone may be below zero: what one adds another may take away.
    lane         integer NOT NULL,
    bytes        bigint  NOT NULL,
    PRIMARY KEY (community_id, lane)
) WITH (fillfactor = 50);

-- What the rows of an execution take, about: ROW_BYTES of the engine's records beside their JSON.
CREATE FUNCTION stored_bytes(
    recorded_bytes bigint, last_seq integer, letter_bytes bigint, letters integer
) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(recorded_bytes + 320 * (1 + last_seq::bigint), 0)
           + letter_bytes + 320 * letters::bigint
$$;

-- How long the JSON of an execution's steps is, of those after this number.
CREATE FUNCTION bytes_of_steps(execution uuid, after integer) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce(sum(coalesce(octet_length(input_data::text), 0)
                        + coalesce(octet_length(output_data::text), 0)
                        + coalesce(octet_length(variables::text), 0)
                        + coalesce(octet_length(details::text), 0)
                        + coalesce(octet_length(error::text), 0)), 0)
      FROM workflow_steps WHERE execution_id = execution AND seq > after
$$;

-- An end that is not its worker's word (a cancellation of what nobody held, a worker lost too often,
-- a parent's end) brings no figure along. What was recorded since it was last measured is read.
CREATE FUNCTION measure_an_unheld_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.recorded_bytes := coalesce(OLD.recorded_bytes, octet_length(OLD.input_parameters::text)
                                                       + octet_length(OLD.metadata::text))
        + bytes_of_steps(OLD.execution_id,
                         CASE WHEN OLD.recorded_bytes IS NULL THEN 0 ELSE OLD.last_seq END);
    RETURN NEW;
END
$$;
CREATE TRIGGER unheld_ends_are_measured
    BEFORE UPDATE OF status ON workflow_executions FOR EACH ROW
    WHEN (OLD.end_time IS NULL AND NEW.end_time IS NOT NULL
          AND NEW.recorded_bytes IS NOT DISTINCT FROM OLD.recorded_bytes)
    EXECUTE FUNCTION measure_an_unheld_end();

-- Whoever finds that an execution has gone on, and brings no figure along, leaves it unmeasured: who
-- frees what a lost worker held, and a process of the release before, which knows none. It fires
-- before `pauses_are_numbered`, which moves last_seq as well.
CREATE FUNCTION leave_unmeasured() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.recorded_bytes := NULL;
    RETURN NEW;
END
$$;
CREATE TRIGGER advances_need_a_measure
    BEFORE UPDATE OF last_seq ON workflow_executions FOR EACH ROW
    WHEN (NEW.last_seq > OLD.last_seq AND NEW.end_time IS NULL
          AND NEW.recorded_bytes IS NOT DISTINCT FROM OLD.recorded_bytes)
    EXECUTE FUNCTION leave_unmeasured();

-- As before, and the letter is measured.
CREATE OR REPLACE FUNCTION an_execution_has_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told json;
    place integer;
BEGIN
    IF NEW.parent_step_key IS NOT NULL THEN
        told := json_build_object('status', NEW.status, 'output', NEW.final_output,
                                  'workflow_name', NEW.workflow_name,
                                  'error_message', NEW.error_message,
                                  'error_code', NEW.error_code,
                                  'error_node_id', NEW.error_node_id);
        UPDATE workflow_executions
           SET letters = letters + 1,
               letter_bytes = letter_bytes + octet_length(told::text),
               wake_at = CASE WHEN status = 'waiting' THEN clock_timestamp() ELSE wake_at END
         WHERE execution_id = NEW.parent_execution_id AND end_time IS NULL
        RETURNING letters INTO place;
        IF FOUND THEN
            INSERT INTO workflow_letters (execution_id, number, letter_id, kind, name, payload)
            VALUES (NEW.parent_execution_id, place, NEW.execution_id, 'child',
                    NEW.parent_step_key, told);
            PERFORM pg_notify('workflow_engine', 'letter:' || NEW.parent_execution_id);
        END IF;
    END IF;
    IF NEW.has_children THEN
        PERFORM cancel_children(NEW.execution_id);
    END IF;
    RETURN NULL;
END
$$;

-- As before, and what an execution keeps is counted whenever it has become more.
CREATE OR REPLACE FUNCTION executions_have_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended uuid[];
    measured boolean;
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- Most are accepted and nothing more: one look at them is all they cost.
        SELECT array_agg(execution_id) FILTER (WHERE end_time IS NOT NULL),
               bool_or(recorded_bytes IS NOT NULL)
          INTO ended, measured FROM rows_after;
        IF measured THEN
            INSERT INTO community_history AS kept (community_id, lane, bytes)
            SELECT community_id, rollup_lane(),
                   sum(stored_bytes(recorded_bytes, last_seq, letter_bytes, letters))
              FROM rows_after GROUP BY 1
            ON CONFLICT (community_id, lane) DO UPDATE SET bytes = kept.bytes + excluded.bytes;
        END IF;
    ELSE
        ended := ARRAY(SELECT execution_id FROM rows_after WHERE end_time IS NOT NULL
                       EXCEPT
                       SELECT execution_id FROM rows_before WHERE end_time IS NOT NULL);
        INSERT INTO community_history AS kept (community_id, lane, bytes)
        SELECT community_id, rollup_lane(), sum(bytes)
          FROM (SELECT community_id,
                       stored_bytes(recorded_bytes, last_seq, letter_bytes, letters) AS bytes
                  FROM rows_after
                 UNION ALL
                SELECT community_id,
                       -stored_bytes(recorded_bytes, last_seq, letter_bytes, letters)
                  FROM rows_before) changed
         GROUP BY 1 HAVING sum(bytes) <> 0
        ON CONFLICT (community_id, lane) DO UPDATE SET bytes = kept.bytes + excluded.bytes;
    END IF;
    IF cardinality(ended) > 0 THEN
        PERFORM roll_up(ended);
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION executions_are_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM community_history;
        RETURN NULL;
    END IF;
    INSERT INTO community_history AS kept (community_id, lane, bytes)
    SELECT community_id, rollup_lane(),
           -sum(stored_bytes(recorded_bytes, last_seq, letter_bytes, letters))
      FROM rows_before GROUP BY 1
    ON CONFLICT (community_id, lane) DO UPDATE SET bytes = kept.bytes + excluded.bytes;
    RETURN NULL;
END
$$;
CREATE TRIGGER what_is_gone_is_counted
    AFTER DELETE ON workflow_executions
    REFERENCING OLD TABLE AS rows_before
    FOR EACH STATEMENT EXECUTE FUNCTION executions_are_gone();
CREATE TRIGGER what_is_emptied_is_counted
    AFTER TRUNCATE ON workflow_executions
    FOR EACH STATEMENT EXECUTE FUNCTION executions_are_gone();
