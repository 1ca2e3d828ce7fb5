-- upshift: create the ledger (format 4)
-- What was done in this database, written in the same transaction as the work itself. Schema
-- "upshift" holds the ledger, schema "upshift_kept" what undo needs: before-images, recorded keys,
-- copies, and whatever was dropped but not yet destroyed.
CREATE SCHEMA IF NOT EXISTS upshift;
CREATE SCHEMA IF NOT EXISTS upshift_kept;

CREATE TABLE IF NOT EXISTS upshift.meta (
    format integer NOT NULL
);

-- One row a run. A unit's transaction begins with LOCK TABLE upshift.fence IN ACCESS SHARE MODE:
-- LOCK takes no snapshot, so under REPEATABLE READ the epoch read after it is the current one. Who
-- raises the epoch takes ACCESS EXCLUSIVE first.
CREATE TABLE IF NOT EXISTS upshift.fence (
    run uuid PRIMARY KEY,
    epoch bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS upshift.run (
    run uuid PRIMARY KEY,
    pack text NOT NULL,
    target_version text,
    strategy text NOT NULL,
    -- planned, running, prepared, committed, rolling_back, rolled_back, failed, stuck
    state text NOT NULL,
    upshift_version text NOT NULL,
    plan jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now(),
    -- for failed and stuck: message, source, sqlstate; never values of rows
    error jsonb,
    -- for rolling_back: the module whose checkpoint it goes to; NULL for the start
    rollback_to text
);

CREATE TABLE IF NOT EXISTS upshift.task (
    run uuid NOT NULL REFERENCES upshift.run,
    task integer NOT NULL,
    -- prepared (kept tables exist, sequences recorded), done, undone
    state text NOT NULL,
    -- what now() is for every unit of the task
    pinned_now timestamptz NOT NULL,
    -- whether all units have been cut
    cut_exhausted boolean NOT NULL DEFAULT false,
    started_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    PRIMARY KEY (run, task)
);

-- From format 4 on: what the operator asked for that is not in the plan.
ALTER TABLE upshift.run ADD COLUMN IF NOT EXISTS options jsonb NOT NULL DEFAULT '{}';

-- Where units were cut, so that a resumed run cuts where the first one did.
CREATE TABLE IF NOT EXISTS upshift.cut (
    run uuid NOT NULL,
    task integer NOT NULL,
    unit integer NOT NULL,
    lower text[],
    upper text[],
    PRIMARY KEY (run, task, unit)
);

CREATE TABLE IF NOT EXISTS upshift.unit (
    run uuid NOT NULL,
    task integer NOT NULL,
    unit integer NOT NULL,
    -- started (only for work that cannot be in a transaction), done, undone
    state text NOT NULL,
    epoch bigint NOT NULL,
    rows bigint NOT NULL DEFAULT 0,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, task, unit)
);

-- Inverse DDL as it was found when the unit ran; executed from the highest seq down.
CREATE TABLE IF NOT EXISTS upshift.undo (
    run uuid NOT NULL,
    task integer NOT NULL,
    seq integer NOT NULL,
    statement text NOT NULL,
    PRIMARY KEY (run, task, seq)
);

-- Destruction that waits for commit. Objects are found by oid: they may be renamed meanwhile.
CREATE TABLE IF NOT EXISTS upshift.deferred (
    run uuid NOT NULL,
    task integer NOT NULL,
    seq integer NOT NULL,
    -- column, table, or statement
    kind text NOT NULL,
    relation oid,
    attribute smallint,
    statement text,
    PRIMARY KEY (run, task, seq)
);

-- Sequences as they were before the first attempt of a task that may draw from them.
CREATE TABLE IF NOT EXISTS upshift.sequence_state (
    run uuid NOT NULL,
    task integer NOT NULL,
    -- by name, not by oid: taking back a changed identity makes a sequence anew
    sequence text NOT NULL,
    last_value bigint NOT NULL,
    is_called boolean NOT NULL,
    PRIMARY KEY (run, task, sequence)
);

CREATE TABLE IF NOT EXISTS upshift.checkpoint (
    run uuid NOT NULL REFERENCES upshift.run,
    -- the module's place in the plan
    seq integer NOT NULL,
    name text NOT NULL,
    prepared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, seq)
);

-- What committed runs brought the database to.
CREATE TABLE IF NOT EXISTS upshift.module (
    name text PRIMARY KEY,
    version text NOT NULL,
    run uuid NOT NULL,
    changed_at timestamptz NOT NULL DEFAULT now()
);

-- Answers that stand once they are given: whether a group of databases moves.
CREATE TABLE IF NOT EXISTS upshift.decision (
    question text PRIMARY KEY,
    answer text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What work costs on this server, in seconds a row: one row, where it was measured.
CREATE TABLE IF NOT EXISTS upshift.rates (
    copied double precision NOT NULL,
    indexed double precision NOT NULL,
    validated double precision NOT NULL,
    in_place double precision NOT NULL,
    entry double precision NOT NULL,
    measured_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What the stages of a shadow pass tell each other: statements, in order, by the task that builds.
CREATE TABLE IF NOT EXISTS upshift.shadow (
    run uuid NOT NULL,
    task integer NOT NULL,
    seq integer NOT NULL,
    -- index (CREATE INDEX), attach (makes an index a constraint), mark (what is set on it)
    kind text NOT NULL,
    -- the index's name
    name text NOT NULL,
    statement text NOT NULL,
    PRIMARY KEY (run, task, seq)
);

-- Stands guard over a table that is being built anew: a write to the old one would be lost.
CREATE OR REPLACE FUNCTION upshift.refuse_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table %.% is being built anew by upshift: it cannot be written until that is done or rolled back',
        quote_ident(TG_TABLE_SCHEMA), quote_ident(TG_TABLE_NAME)
        USING ERRCODE = 'object_in_use';
END
$$;

-- Snapshots of the whole database, taken before what cannot be undone. A snapshot holds its own row as
-- started: a database that was restored from it knows that the snapshot is used up.
CREATE TABLE IF NOT EXISTS upshift.snapshot (
    run uuid NOT NULL,
    -- its place in the plan
    seq integer NOT NULL,
    -- template, command
    kind text NOT NULL,
    -- of the database that holds it, or what the configured commands call it by
    name text NOT NULL,
    -- started, done
    state text NOT NULL,
    -- oid of this table: another one in a database that was restored from a logical dump
    relation oid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (run, seq)
);
