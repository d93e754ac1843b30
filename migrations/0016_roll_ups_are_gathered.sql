-- What ended in hours that are over, gathered: for each workflow and status (and each node) a row of
-- the hour and one of its day, the histogram as an array. Reading a row for each bin was most of what
-- metrics of hours cost, and reading a week of hours most of what those of days cost.

CREATE FUNCTION sum_of(counts bigint[]) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT coalesce(sum(count), 0)::bigint FROM unnest(counts) AS u (count)
$$;

-- The elements of an array as they are sent to a client, each of them in twelve bytes. To make that
-- is a third of what reading it costs, so it is kept as well.
CREATE FUNCTION as_sent(counts bigint[]) RETURNS bytea LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN substr(array_send(counts), 21);
END
$$;

CREATE TABLE gathered_rollups (
    workflow_id uuid             NOT NULL,
    -- The UTC hour in which they ended; the day, if daily. Each is whole: those of a day are in its
    -- row and, for as long as hours are kept, in the rows of its hours.
    hour        timestamptz      NOT NULL,
    daily       boolean          NOT NULL,
    status      text             NOT NULL
                CHECK (status IN ('completed', 'failed', 'cancelled')),
    seconds     double precision NOT NULL,
    cost        double precision NOT NULL,
    tokens      double precision NOT NULL,
    -- How many executions are in each bin (see duration_bin()), from the highest one that has any
    -- down to the lowest.
    lowest_bin  integer          NOT NULL,
    counts      bigint[]         NOT NULL,
    sent        bytea            GENERATED ALWAYS AS (as_sent(counts)) STORED,
    executions  bigint           GENERATED ALWAYS AS (sum_of(counts)) STORED,
    PRIMARY KEY (workflow_id, daily, hour, status)
);
CREATE INDEX gathered_rollups_upkeep ON gathered_rollups (daily, hour) WHERE hour > '-infinity';

CREATE FUNCTION counts_by_bin(lowest_bin integer, counts bigint[])
RETURNS TABLE (bin integer, count bigint) LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT lowest_bin + cardinality(counts) - place::integer, count
      FROM unnest(counts) WITH ORDINALITY AS u (count, place)
$$;

CREATE TABLE gathered_nodes (
    workflow_id     uuid             NOT NULL,
    hour            timestamptz      NOT NULL,
    daily           boolean          NOT NULL,
    node_id         text             NOT NULL,
    node_type       text             NOT NULL,
    runs            bigint           NOT NULL,
    failures        bigint           NOT NULL,
    seconds         double precision NOT NULL,
    longest_seconds double precision NOT NULL,
    PRIMARY KEY (workflow_id, daily, hour, node_id)
);
CREATE INDEX gathered_nodes_upkeep ON gathered_nodes (daily, hour) WHERE hour > '-infinity';

-- Whatever lane they are in, they are found by their hour; after an upgrade they are many. These
-- indexes are for who says that an hour is some hour, as upkeep does. Metrics are read by the key: a
-- plan that was made while a table was empty must not go through all of it along another index.
DROP INDEX execution_rollups_upkeep;
CREATE INDEX execution_rollups_upkeep ON execution_rollups (hour) WHERE hour > '-infinity';
DROP INDEX node_rollups_upkeep;
CREATE INDEX node_rollups_upkeep ON node_rollups (hour) WHERE hour > '-infinity';

-- As before, but of nothing there is nothing to add: least() and greatest() pass by a null, so that an
-- execution cancelled before it had started counted as 1e15 seconds. Nobody was told, for metrics
-- leave out how long the cancelled took; `quart metrics rebuild` mends what was counted.
CREATE OR REPLACE FUNCTION summable(reported double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN reported IS NOT NULL THEN greatest(least(reported, 1e15), -1e15) END
$$;
