-- What is gathered changes for a moment once an hour, and is asked for all the time. Whoever has read
-- it need not read it again for as long as its state is the same. A state never comes back, also where
-- a database does from a backup. Without a row nobody knows.

CREATE TABLE gathered_state (
    one   boolean PRIMARY KEY DEFAULT true CHECK (one),
    state uuid    NOT NULL DEFAULT gen_random_uuid()
);

CREATE FUNCTION gathered_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'TRUNCATE' THEN
        IF NOT EXISTS (SELECT FROM changed) THEN
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO gathered_state DEFAULT VALUES ON CONFLICT (one) DO UPDATE SET state = gen_random_uuid();
    RETURN NULL;
END
$$;

CREATE TRIGGER gathered_more AFTER INSERT ON gathered_rollups
    REFERENCING NEW TABLE AS changed EXECUTE FUNCTION gathered_changed();
CREATE TRIGGER gathered_other AFTER UPDATE ON gathered_rollups
    REFERENCING NEW TABLE AS changed EXECUTE FUNCTION gathered_changed();
CREATE TRIGGER gathered_less AFTER DELETE ON gathered_rollups
    REFERENCING OLD TABLE AS changed EXECUTE FUNCTION gathered_changed();
CREATE TRIGGER gathered_nothing AFTER TRUNCATE ON gathered_rollups
    EXECUTE FUNCTION gathered_changed();

CREATE TRIGGER gathered_more AFTER INSERT ON gathered_nodes
    REFERENCING NEW TABLE AS changed EXECUTE FUNCTION gathered_changed();
CREATE TRIGGER gathered_other AFTER UPDATE ON gathered_nodes
    REFERENCING NEW TABLE AS changed EXECUTE FUNCTION gathered_changed();
CREATE TRIGGER gathered_less AFTER DELETE ON gathered_nodes
    REFERENCING OLD TABLE AS changed EXECUTE FUNCTION gathered_changed();
CREATE TRIGGER gathered_nothing AFTER TRUNCATE ON gathered_nodes
    EXECUTE FUNCTION gathered_changed();
