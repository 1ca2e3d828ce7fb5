//! The metadata operator: captures, hidden columns, tables and objects, kept columns.

use anyhow::Result;
use upshift_shared::plan::{Capture, DdlEffect, Hide};

use crate::rig::{Cuts, captured, ddl, hidden, prove, scripts};
use upshift_shared::plan::Task;

async fn prove_ddl(setup: &str, tasks: Vec<(Task, Cuts)>) -> Result<()> {
    let psql = scripts(&tasks);
    prove(setup, &tasks, &psql).await
}

fn s(text: &str) -> String {
    text.to_owned()
}

const SHOP: &str = r#"
CREATE TABLE parent (id integer PRIMARY KEY, ref text UNIQUE);
INSERT INTO parent SELECT i, 'r' || i FROM generate_series(1, 50) i;
CREATE TABLE "Shop ""x""; DROP" (
    "id " serial,
    code varchar(20) COLLATE "C" NOT NULL DEFAULT 'none',
    "q""ty" numeric(10,2) DEFAULT 1.5 CHECK ("q""ty" > 0),
    parent_id integer REFERENCES parent ON DELETE CASCADE,
    note text,
    CONSTRAINT "shop pk" PRIMARY KEY ("id "),
    CONSTRAINT code_uq UNIQUE (code, parent_id) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT long_code CHECK (length(code) > 1) NOT VALID
);
INSERT INTO "Shop ""x""; DROP" (code, parent_id, note)
    SELECT 'c' || i, i, 'n' || i FROM generate_series(1, 50) i;
COMMENT ON COLUMN "Shop ""x""; DROP".code IS 'it''s a code';
COMMENT ON CONSTRAINT code_uq ON "Shop ""x""; DROP" IS 'unique';
CREATE INDEX "code idx" ON "Shop ""x""; DROP" (lower(code)) WITH (fillfactor = 70) WHERE note IS NOT NULL;
COMMENT ON INDEX "code idx" IS 'index';
CREATE INDEX clustered ON "Shop ""x""; DROP" (code);
ALTER TABLE "Shop ""x""; DROP" CLUSTER ON clustered;
CREATE STATISTICS code_stats (ndistinct) ON code, note FROM "Shop ""x""; DROP";
COMMENT ON STATISTICS code_stats IS 'stats';
ALTER TABLE "Shop ""x""; DROP" ALTER code SET STATISTICS 50;
CREATE VIEW v1 WITH (security_barrier) AS SELECT "id ", code FROM "Shop ""x""; DROP";
CREATE VIEW v2 AS SELECT code AS c2 FROM v1;
COMMENT ON VIEW v2 IS 'second';
GRANT SELECT ON v2 TO PUBLIC;
GRANT SELECT (code), UPDATE (code) ON "Shop ""x""; DROP" TO PUBLIC;
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER "tr g" BEFORE UPDATE OF code ON "Shop ""x""; DROP" FOR EACH ROW EXECUTE FUNCTION tf();
ALTER TABLE "Shop ""x""; DROP" ENABLE ALWAYS TRIGGER "tr g";
CREATE POLICY pol ON "Shop ""x""; DROP" FOR SELECT USING (code <> 'x');
CREATE TABLE child (id integer PRIMARY KEY, shop integer,
    CONSTRAINT fk FOREIGN KEY (shop) REFERENCES "Shop ""x""; DROP" ON UPDATE CASCADE NOT VALID);
INSERT INTO child VALUES (1, 1);
"#;

const NAME: &str = r#""public"."Shop ""x""; DROP""#;

#[tokio::test]
async fn a_column_is_hidden_with_all_that_hangs_on_it() -> Result<()> {
    for (column, quoted) in [
        ("code", "code"),
        ("id ", "\"id \""),
        ("q\"ty", "\"q\"\"ty\""),
    ] {
        let task = hidden(
            0,
            &format!("ALTER TABLE {NAME} DROP COLUMN {quoted} CASCADE"),
            Hide::Column {
                table: s(NAME),
                column: s(column),
                cascade: true,
            },
        );
        prove_ddl(SHOP, vec![task]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_table_is_hidden_and_its_name_used_again() -> Result<()> {
    let hide = |id| {
        hidden(
            id,
            &format!("DROP TABLE {NAME} CASCADE"),
            Hide::Table {
                table: s(NAME),
                cascade: true,
            },
        )
    };
    let create = ddl(
        1,
        &format!(
            "CREATE TABLE {NAME} (\"id \" serial, CONSTRAINT \"shop pk\" PRIMARY KEY (\"id \"))"
        ),
        DdlEffect::Invert {
            undo: vec![format!("DROP TABLE {NAME}")],
        },
    );
    prove_ddl(SHOP, vec![hide(0), create, hide(2)]).await?;
    let parent = hidden(
        0,
        "DROP TABLE parent CASCADE",
        Hide::Table {
            table: s("public.parent"),
            cascade: true,
        },
    );
    prove_ddl(SHOP, vec![parent]).await
}

#[tokio::test]
async fn if_exists_and_identity_and_types_after_their_columns() -> Result<()> {
    let setup = "CREATE TYPE mood AS ENUM ('sad', 'ok');
        CREATE SEQUENCE loose START 7; SELECT nextval('loose');
        CREATE FUNCTION f(a integer, b text DEFAULT 'x') RETURNS integer LANGUAGE sql AS 'SELECT a';
        COMMENT ON FUNCTION f(integer, text) IS 'f'; GRANT EXECUTE ON FUNCTION f(integer, text) TO PUBLIC;
        CREATE TABLE t (id integer GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 3), m mood DEFAULT 'ok',
                        n integer DEFAULT f(1));
        CREATE COLLATION \"C x\" (locale = 'C'); COMMENT ON COLLATION \"C x\" IS 'c';
        CREATE MATERIALIZED VIEW stale AS SELECT count(*) AS n FROM t; CREATE UNIQUE INDEX si ON stale (n);
        INSERT INTO t (m) VALUES ('sad'), ('ok');";
    let column = |id, name: &str| {
        hidden(
            id,
            &format!("ALTER TABLE public.t DROP COLUMN {name}"),
            Hide::Column {
                table: s("public.t"),
                column: s(name),
                cascade: false,
            },
        )
    };
    let object = |id, class: &str, object: &str| {
        hidden(
            id,
            &format!("DROP {class} {object}"),
            Hide::Object {
                class: s(class),
                object: s(object),
            },
        )
    };
    let missing = hidden(
        9,
        "DROP TABLE IF EXISTS public.nothing",
        Hide::Table {
            table: s("public.nothing"),
            cascade: false,
        },
    );
    prove_ddl(
        setup,
        vec![
            column(0, "m"),
            object(1, "TYPE", "public.mood"),
            object(2, "SEQUENCE", "public.loose"),
            column(3, "n"),
            object(4, "FUNCTION", "public.f(integer, text)"),
            column(5, "id"),
            object(6, "MATERIALIZED VIEW", "public.stale"),
            object(7, "COLLATION", "public.\"C x\""),
            missing,
        ],
    )
    .await
}

#[tokio::test]
async fn a_change_of_type_keeps_the_old_values() -> Result<()> {
    let setup =
        "CREATE TABLE t (id integer PRIMARY KEY, a varchar(10) COLLATE \"C\" NOT NULL DEFAULT '7',
                                 b timestamptz DEFAULT now(), c text);
        ALTER TABLE t ALTER a SET STORAGE EXTERNAL, ALTER a SET STATISTICS 5;
        CREATE UNIQUE INDEX ai ON t (a); COMMENT ON COLUMN t.a IS 'a';
        INSERT INTO t SELECT i, i || ' ', '2020-01-01'::timestamptz + i * interval '1.5 h', '0' || i
            FROM generate_series(1, 200) i;";
    let keep = |id, column: &str, change: &str| {
        ddl(
            id,
            &format!("ALTER TABLE public.t {change}"),
            DdlEffect::KeepColumn {
                table: s("public.t"),
                column: s(column),
            },
        )
    };
    prove_ddl(
        setup,
        vec![
            keep(
                0,
                "a",
                "ALTER a DROP DEFAULT, ALTER a TYPE integer USING trim(a)::integer, ALTER a SET DEFAULT 3",
            ),
            keep(1, "a", "ALTER a TYPE smallint"),
            keep(2, "b", "ALTER b TYPE date"),
            keep(3, "c", "ALTER c TYPE integer USING c::integer"),
        ],
    )
    .await
}

#[tokio::test]
async fn columns_and_constraints_are_captured() -> Result<()> {
    let column = |name: &str| (s("public.t"), s(name));
    let (table, a) = column("a");
    let constraint = |table: &str, constraint: &str| Capture::Constraint {
        table: s(table),
        constraint: s(constraint),
    };
    let setup = "CREATE TABLE t (id integer CONSTRAINT tpk PRIMARY KEY WITH (fillfactor = 50),
            a integer NOT NULL DEFAULT 5, b integer GENERATED BY DEFAULT AS IDENTITY (START 3 CYCLE MAXVALUE 90),
            c text, CONSTRAINT chk CHECK (a > 0) NOT VALID);
        COMMENT ON CONSTRAINT tpk ON t IS 'key'; ALTER TABLE t REPLICA IDENTITY USING INDEX tpk;
        ALTER TABLE t CLUSTER ON tpk;
        CREATE TABLE u (t integer REFERENCES t DEFERRABLE); INSERT INTO t VALUES (1), (2); INSERT INTO u VALUES (1);
        COMMENT ON SEQUENCE t_b_seq IS 'ids';";
    prove_ddl(
        setup,
        vec![
            captured(0, "ALTER TABLE public.t ALTER a SET DEFAULT 6", vec![Capture::Default { table: table.clone(), column: a.clone() }]),
            captured(1, "ALTER TABLE public.t ALTER a DROP DEFAULT", vec![Capture::Default { table: table.clone(), column: a.clone() }]),
            captured(2, "ALTER TABLE public.t ALTER a DROP NOT NULL", vec![Capture::NotNull { table: table.clone(), column: a.clone() }]),
            captured(3, "ALTER TABLE public.t ALTER c SET NOT NULL", vec![Capture::NotNull { table: table.clone(), column: s("c") }]).clone(),
            captured(4, "ALTER TABLE public.t ALTER a TYPE bigint", vec![Capture::Type { table: table.clone(), column: a.clone() }]),
            captured(5, "ALTER TABLE public.t ALTER b SET GENERATED ALWAYS SET INCREMENT BY 2", vec![Capture::Identity { table: table.clone(), column: s("b") }]),
            captured(6, "ALTER TABLE public.t ALTER b DROP IDENTITY", vec![Capture::Identity { table: table.clone(), column: s("b") }]),
            captured(7, "ALTER TABLE public.t ALTER c SET STORAGE EXTERNAL, ALTER c SET COMPRESSION pglz, ALTER c SET STATISTICS 9, ALTER c SET (n_distinct = 4)",
                vec![Capture::ColumnAttributes { table: table.clone(), column: s("c") }]),
            captured(8, "ALTER TABLE public.t VALIDATE CONSTRAINT chk", vec![constraint("public.t", "chk")]),
            captured(9, "ALTER TABLE public.u ALTER CONSTRAINT u_t_fkey NOT DEFERRABLE", vec![constraint("public.u", "u_t_fkey")]),
            captured(10, "ALTER TABLE public.t DROP CONSTRAINT tpk CASCADE", vec![constraint("public.t", "tpk"), constraint("public.u", "u_t_fkey")]),
            captured(11, "ALTER TABLE public.t DROP CONSTRAINT IF EXISTS nothing", vec![constraint("public.t", "nothing")]),
        ].into_iter().filter(|(task, _)| task.id.0 != 3).collect(),
    )
    .await
}

#[tokio::test]
async fn tables_and_their_parts_are_captured() -> Result<()> {
    let setup = "CREATE TABLE t (id integer PRIMARY KEY, a text) WITH (fillfactor = 80, toast.autovacuum_enabled = off);
        CREATE INDEX ti ON t (a) WITH (fillfactor = 66); COMMENT ON INDEX ti IS 'i'; ALTER TABLE t CLUSTER ON ti;
        CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER g1 BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf();
        CREATE TRIGGER g2 AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf();
        ALTER TABLE t ENABLE REPLICA TRIGGER g2; COMMENT ON TRIGGER g1 ON t IS 'g';
        CREATE POLICY p ON t AS RESTRICTIVE FOR UPDATE TO PUBLIC USING (id > 1) WITH CHECK (id > 2);
        COMMENT ON POLICY p ON t IS 'p'; CREATE POLICY p2 ON t FOR INSERT WITH CHECK (true); ALTER TABLE t ENABLE ROW LEVEL SECURITY;
        GRANT SELECT, INSERT ON t TO PUBLIC; GRANT UPDATE (a) ON t TO PUBLIC;
        COMMENT ON TABLE t IS 'old'; CREATE SEQUENCE q START 4; SELECT nextval('q');";
    let t = || s("public.t");
    prove_ddl(
        setup,
        vec![
            captured(0, "ALTER TABLE public.t SET (fillfactor = 90, autovacuum_enabled = off), RESET (toast.autovacuum_enabled)", vec![Capture::Options { object: t() }]),
            captured(1, "ALTER INDEX public.ti SET (fillfactor = 77)", vec![Capture::Options { object: s("public.ti") }]),
            captured(2, "DROP INDEX public.ti", vec![Capture::Index { index: s("public.ti") }]),
            captured(3, "ALTER TABLE public.t DISABLE TRIGGER USER", vec![Capture::TriggerStates { table: t() }]),
            captured(4, "DROP TRIGGER g2 ON public.t", vec![Capture::Trigger { table: t(), trigger: s("g2") }]),
            captured(5, "DROP TRIGGER g1 ON public.t", vec![Capture::Trigger { table: t(), trigger: s("g1") }]),
            captured(6, "DROP POLICY p ON public.t", vec![Capture::Policy { table: t(), policy: s("p") }]),
            captured(11, "DROP POLICY p2 ON public.t", vec![Capture::Policy { table: t(), policy: s("p2") }]),
            captured(7, "ALTER TABLE public.t DISABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY", vec![Capture::RowSecurity { table: t() }]),
            captured(8, "REVOKE SELECT ON public.t FROM PUBLIC; GRANT DELETE ON public.t TO PUBLIC; REVOKE TRUNCATE ON public.t FROM CURRENT_USER", vec![Capture::Privileges { object: t() }]),
            captured(9, "COMMENT ON TABLE public.t IS 'new \\ ''x'''", vec![Capture::Comment {
                object: s("TABLE public.t"),
                query: s("SELECT obj_description('public.t'::regclass, 'pg_class')"),
            }]),
            captured(10, "ALTER SEQUENCE public.q INCREMENT 5 RESTART 100 OWNED BY public.t.id", vec![Capture::Sequence { sequence: s("public.q") }]),
        ],
    )
    .await
}

#[tokio::test]
async fn views_and_functions_are_captured() -> Result<()> {
    let setup = "CREATE TABLE t (id integer PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x');
        CREATE VIEW v (i, \"A b\") WITH (check_option = local) AS SELECT id, a FROM t WHERE id > 0;
        ALTER VIEW v ALTER i SET DEFAULT 9; COMMENT ON COLUMN v.i IS 'i'; GRANT SELECT ON v TO PUBLIC;
        CREATE MATERIALIZED VIEW m AS SELECT i FROM v; CREATE UNIQUE INDEX mi ON m (i);
        CREATE VIEW w AS SELECT m.i, v.\"A b\" FROM m JOIN v USING (i);
        CREATE FUNCTION f(a integer) RETURNS integer LANGUAGE sql STABLE SET search_path = public AS 'SELECT a';
        COMMENT ON FUNCTION f(integer) IS 'f'; REVOKE EXECUTE ON FUNCTION f(integer) FROM PUBLIC;";
    let view = || {
        vec![Capture::View {
            view: s("public.v"),
        }]
    };
    let function = |name: &str| vec![Capture::Function { function: s(name) }];
    prove_ddl(
        setup,
        vec![
            captured(0, "CREATE OR REPLACE VIEW public.v (i, \"A b\") AS SELECT id, upper(a) FROM public.t", view()),
            captured(1, "CREATE OR REPLACE VIEW public.v (i, \"A b\", n) AS SELECT id, a, 1 FROM public.t", view()),
            captured(2, "DROP VIEW public.v CASCADE", view()),
            captured(3, "CREATE OR REPLACE VIEW public.fresh AS SELECT 1 AS one", vec![Capture::View { view: s("public.fresh") }]),
            captured(4, "CREATE OR REPLACE FUNCTION public.f(a integer) RETURNS integer LANGUAGE sql AS 'SELECT a + 1'", function("public.f(integer)")),
            captured(5, "DROP FUNCTION public.f(integer)", function("public.f(integer)")),
            captured(6, "CREATE OR REPLACE FUNCTION public.g() RETURNS integer LANGUAGE sql AS 'SELECT 1'", function("public.g()")),
        ],
    )
    .await
}
