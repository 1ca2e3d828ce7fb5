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
    -- for rolling_back: the checkpoint that it goes to; NULL for the start
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
    -- its place in the plan's checkpoints
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

-- What happened in a run, in order: seq counts from 1 without holes. Never values of users' rows.
CREATE TABLE IF NOT EXISTS upshift.event (
    run uuid NOT NULL,
    seq bigint NOT NULL,
    -- never before that of the event before it
    at timestamptz NOT NULL,
    kind text NOT NULL,
    task integer,
    unit integer,
    detail jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (run, seq)
);

-- What is open now is asked for from the last start on.
CREATE INDEX IF NOT EXISTS event_run_started ON upshift.event (run, seq) WHERE kind = 'run_started';

-- What operators want of a run while it goes on, from any process, and what its driver makes of it. One
-- row a run, there from when the run was first driven or wanted to change.
CREATE TABLE IF NOT EXISTS upshift.control (
    run uuid PRIMARY KEY,
    -- raised by every change that somebody asks for
    version bigint NOT NULL DEFAULT 0,
    paused boolean NOT NULL DEFAULT false,
    reason text,
    -- NULL: what the driver was started with
    workers integer,
    max_units integer,
    max_units_per_task integer,
    -- thresholds of health signals, by name; an absent one is what the configuration says
    throttle jsonb NOT NULL DEFAULT '{}',
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_by text,
    -- written by the driver under its epoch: the version that it has seen, and what is in force
    acknowledged bigint NOT NULL DEFAULT 0,
    in_force jsonb,
    in_force_at timestamptz
);

-- What a run's plan was compiled from: the catalog of its start, the installed versions, the options, and
-- which steps the pack had. JSON, as text: it is only ever read whole.
CREATE TABLE IF NOT EXISTS upshift.source (
    run uuid PRIMARY KEY REFERENCES upshift.run,
    source text NOT NULL
);

-- The plans that a run had before an edited pack was taken up.
CREATE TABLE IF NOT EXISTS upshift.plan_history (
    run uuid NOT NULL REFERENCES upshift.run,
    seq bigint NOT NULL,
    plan jsonb NOT NULL,
    replaced_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run, seq)
);

-- What units counted, and digested with --verify full, before and after. Units whose counts are those of
-- their row in upshift.unit have none here.
CREATE TABLE IF NOT EXISTS upshift.verification (
    run uuid NOT NULL,
    task integer NOT NULL,
    unit integer NOT NULL,
    rows_before bigint NOT NULL,
    rows_after bigint NOT NULL,
    -- the sum of the hashes of the rows
    digest_before numeric,
    digest_after numeric,
    PRIMARY KEY (run, task, unit)
);

-- What a run left when it was prepared: one row a run, a row a table, a row an object of the schema.
CREATE TABLE IF NOT EXISTS upshift.left_state (
    run uuid PRIMARY KEY,
    -- counts, full
    verify text NOT NULL,
    -- of another major version, neither digests nor definitions compare
    server_version integer NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS upshift.left_table (
    run uuid NOT NULL,
    -- quoted and qualified
    name text NOT NULL,
    relation oid NOT NULL,
    -- NULL where counting would have cost more than the work
    rows bigint,
    content text,
    PRIMARY KEY (run, name)
);
CREATE TABLE IF NOT EXISTS upshift.left_object (
    run uuid NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    definition bigint NOT NULL,
    PRIMARY KEY (run, kind, name)
);

-- Rows that a statement could not work on. Keys, rows and messages are the users' data: they stay here
-- and are shown only where that is asked for.
CREATE TABLE IF NOT EXISTS upshift.bad_row (
    run uuid NOT NULL,
    task integer NOT NULL,
    unit integer NOT NULL,
    seq integer NOT NULL,
    -- quoted and qualified, as it was called then
    table_name text NOT NULL,
    -- the key's columns as texts; NULL where the row could not be found out
    key jsonb,
    row jsonb,
    column_name text,
    -- what the statement would have given to the column, where that can be computed
    value jsonb,
    sqlstate text NOT NULL,
    -- as the server said them
    message text NOT NULL,
    detail text,
    -- file, line and column of the statement
    source text NOT NULL,
    -- found (the run stopped), quarantined (left out), retried (done after all)
    state text NOT NULL,
    -- for retried: the unit that did it
    retry_unit integer,
    PRIMARY KEY (run, task, unit, seq)
);

-- Snapshots of the whole database, taken before what cannot be undone. A snapshot holds its own row as
-- started: a database that was restored from it knows that the snapshot is used up.
CREATE TABLE IF NOT EXISTS upshift.snapshot (
    run uuid NOT NULL,
    -- its place in the plan
    seq integer NOT NULL,
    -- template, command, dump
    kind text NOT NULL,
    -- of the database that holds it, of the directory, or what the configured commands call it by
    name text NOT NULL,
    -- started, done
    state text NOT NULL,
    -- oid of this table: another one in a database that was restored from a logical dump
    relation oid NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (run, seq)
);

-- Transactions that took units back and whose units the ledger has forgotten: what they wrote is no
-- application's.
CREATE TABLE IF NOT EXISTS upshift.taken_back (
    run uuid NOT NULL,
    xid bigint NOT NULL,
    PRIMARY KEY (run, xid)
);
