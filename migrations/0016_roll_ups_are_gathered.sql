-- What ended in hours that are over, gathered: one row for each workflow, hour (once that is long
-- ago: day) and status, its histogram as two arrays. Reading a row for each bin was most of what
-- metrics cost.

CREATE TABLE gathered_rollups (
    workflow_id uuid             NOT NULL,
    -- The UTC hour in which they ended; the day, if daily.
    hour        timestamptz      NOT NULL,
    daily       boolean          NOT NULL,
    status      text             NOT NULL
                CHECK (status IN ('completed', 'failed', 'cancelled')),
    executions  bigint           NOT NULL,
    seconds     double precision NOT NULL,
    cost        double precision NOT NULL,
    tokens      double precision NOT NULL,
    -- See duration_bin(): which bins, and how many executions are in each of them.
    bins        integer[]        NOT NULL,
    counts      bigint[]         NOT NULL CHECK (cardinality(counts) = cardinality(bins)),
    PRIMARY KEY (workflow_id, hour, daily, status)
);
CREATE INDEX gathered_rollups_upkeep ON gathered_rollups (daily, hour);

-- Whatever lane they are in, they are found by their hour; after an upgrade they are many.
DROP INDEX execution_rollups_upkeep;
CREATE INDEX execution_rollups_upkeep ON execution_rollups (hour);

-- As before, but of nothing there is nothing to add: least() and greatest() pass by a null, so that an
-- execution cancelled before it had started counted as 1e15 seconds. Nobody was told, for metrics
-- leave out how long the cancelled took; `quart metrics rebuild` mends what was counted.
CREATE OR REPLACE FUNCTION summable(reported double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN reported IS NOT NULL THEN greatest(least(reported, 1e15), -1e15) END
$$;
