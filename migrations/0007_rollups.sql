-- Metrics that cost the same at any length of history: what has ended is counted, per workflow and
-- hour, in the transaction that ends it.
-- Whatever ends an execution (its worker's flush, a cancellation, a sweeper's verdict, its parent's
-- end), a trigger counts it, so no path can forget to. It fires once per statement: a flush that
-- ends sixty executions writes each row once.
-- Every figure is a sum, or a greatest value, so rows can be merged, moved to a coarser time and
-- corrected by adding.

CREATE TABLE execution_rollups (
    workflow_id uuid NOT NULL,
    -- The UTC hour in which they ended; once that is long ago, the day.
    hour        timestamptz NOT NULL,
    -- Whose row it is: see rollup_lane(). -1: of hours long over, -2: of days.
    lane        integer NOT NULL,
    status      text NOT NULL CHECK (status IN ('completed', 'failed', 'cancelled')),
    bin         integer NOT NULL CHECK (bin >= -1),
    executions  bigint NOT NULL,
    seconds     double precision NOT NULL,
    cost        double precision NOT NULL,
    tokens      double precision NOT NULL,
    PRIMARY KEY (workflow_id, hour, lane, status, bin)
) WITH (fillfactor = 70);
CREATE INDEX execution_rollups_upkeep ON execution_rollups (lane, hour);

-- Steps that ran to an end in executions that have ended.
CREATE TABLE node_rollups (
    workflow_id     uuid NOT NULL,
    hour            timestamptz NOT NULL,
    lane            integer NOT NULL,
    node_id         text NOT NULL,
    node_type       text NOT NULL,
    runs            bigint NOT NULL,
    failures        bigint NOT NULL,
    seconds         double precision NOT NULL,
    longest_seconds double precision NOT NULL,
    PRIMARY KEY (workflow_id, hour, lane, node_id)
) WITH (fillfactor = 70);
CREATE INDEX node_rollups_upkeep ON node_rollups (lane, hour);

-- Up to when retention has dropped executions of a workflow: what ended before is counted in the
-- roll-ups alone, and cannot be counted again.
CREATE TABLE rollup_horizons (
    workflow_id   uuid PRIMARY KEY,
    dropped_until timestamptz NOT NULL
);

-- A logarithmic histogram (Masson, Rim, Lee: DDSketch, VLDB 2019): bin 0 is up to a millisecond,
-- bin i ends at 0.001 * (1.05 / 0.95) ^ i seconds, so that the middle of a bin is within 5 % of
-- whatever is in it. -1 is a duration that there is not: it never started.
CREATE FUNCTION duration_bin(seconds double precision) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN seconds IS NULL THEN -1
                ELSE ceil(ln(least(greatest(seconds, 0.001), 1e15) / 0.001)
                          / ln(1.05 / 0.95))::integer END
$$;

-- date_part and not extract, which computes with decimal numbers, ten times as slow.
CREATE FUNCTION seconds_between(began timestamptz, ended timestamptz) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT greatest(date_part('epoch', ended - began), 0)
$$;

-- What nodes report may be any number. Sums of what is summed here stay far from where a number
-- ends, so that no report can keep an execution, or its neighbours, from ending.
CREATE FUNCTION summable(reported double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT greatest(least(reported, 1e15), -1e15)
$$;

-- Transactions that end something at the same time write rows of different lanes. So none waits for
-- another one's row, in whatever order each comes to its rows, and there is nothing to deadlock on.
-- A lane is a lock until the transaction's end; mostly the first one is free.
CREATE FUNCTION rollup_lane() RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    FOR lane IN 0 .. 31 LOOP
        IF pg_try_advisory_xact_lock(24387, lane) THEN
            RETURN lane;
        END IF;
    END LOOP;
    RETURN 32 + pg_backend_pid();
END
$$;

-- The plan is made once per session, perhaps while the tables are still empty: it must not be one
-- that reads all of a small table, for they grow. Nor one that sorts, for want of a better estimate.
CREATE FUNCTION roll_up(ended uuid[]) RETURNS void LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_sort = off
AS $$
DECLARE
    own_lane integer := rollup_lane();
BEGIN
    INSERT INTO execution_rollups AS kept
           (workflow_id, hour, lane, status, bin, executions, seconds, cost, tokens)
    SELECT e.workflow_id, date_bin('1 hour', e.end_time, 'epoch'), own_lane, e.status,
           duration_bin(e.execution_time_seconds), count(*),
           coalesce(sum(summable(e.execution_time_seconds)), 0), sum(summable(e.total_cost)),
           sum(summable(e.tokens_used))
      FROM workflow_executions e
     WHERE e.execution_id = ANY (ended)
     GROUP BY 1, 2, 4, 5
    ON CONFLICT (workflow_id, hour, lane, status, bin) DO UPDATE
       SET executions = kept.executions + excluded.executions,
           seconds = kept.seconds + excluded.seconds,
           cost = kept.cost + excluded.cost,
           tokens = kept.tokens + excluded.tokens;
    -- A step that a retry took over from the execution before was counted there.
    INSERT INTO node_rollups AS kept
           (workflow_id, hour, lane, node_id, node_type, runs, failures, seconds, longest_seconds)
    SELECT e.workflow_id, date_bin('1 hour', e.end_time, 'epoch'), own_lane, s.node_id,
           max(s.node_type), count(*), count(*) FILTER (WHERE s.status = 'failed'),
           sum(seconds_between(s.started_at, s.completed_at)),
           max(seconds_between(s.started_at, s.completed_at))
      FROM workflow_executions e JOIN workflow_steps s ON s.execution_id = e.execution_id
     WHERE e.execution_id = ANY (ended) AND s.kind = 'finished' AND s.completed_at IS NOT NULL
       AND (s.details IS NULL OR s.details -> 'reused' IS NULL)
     GROUP BY 1, 2, 4
    ON CONFLICT (workflow_id, hour, lane, node_id) DO UPDATE
       SET node_type = excluded.node_type,
           runs = kept.runs + excluded.runs,
           failures = kept.failures + excluded.failures,
           seconds = kept.seconds + excluded.seconds,
           longest_seconds = greatest(kept.longest_seconds, excluded.longest_seconds);
END
$$;

CREATE FUNCTION executions_have_ended() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ended uuid[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        ended := ARRAY(SELECT execution_id FROM rows_after WHERE end_time IS NOT NULL);
    ELSE
        ended := ARRAY(SELECT execution_id FROM rows_after WHERE end_time IS NOT NULL
                       EXCEPT
                       SELECT execution_id FROM rows_before WHERE end_time IS NOT NULL);
    END IF;
    IF cardinality(ended) > 0 THEN
        PERFORM roll_up(ended);
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER ends_are_counted
    AFTER UPDATE ON workflow_executions
    REFERENCING OLD TABLE AS rows_before NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION executions_have_ended();
CREATE TRIGGER short_lives_are_counted
    AFTER INSERT ON workflow_executions
    REFERENCING NEW TABLE AS rows_after
    FOR EACH STATEMENT EXECUTE FUNCTION executions_have_ended();

-- How many are parked, for the gauge: without an index it would be a count of the whole table.
CREATE INDEX workflow_executions_parked
    ON workflow_executions (created) WHERE status = 'waiting';
