//! Swap: one short transaction in which the old table goes out of sight and the new one takes its
//! place, whatever the size.
//!
//! Advances its unit to `done`. Tried again when a lock is not granted in time; aborted by anything
//! else, and then nothing has changed. Undone by the same the other way round: the old table is as it
//! was, so only what others hold on it has to be pointed back: foreign keys, views, owned sequences.
//!
//! Foreign keys come back NOT VALID, because validating them takes time with the table's size; the
//! stages beside this one do that.

use sqlx::{PgConnection, Row};
use upshift_shared::{
    Error, Result,
    ledger::{
        self,
        deferred::{self, Deferred},
        shadow::{self, Kind},
    },
    pg::{
        execute_raw,
        ident::{ident, literal},
    },
    plan::{AddedKey, Shadow, ShadowStage},
};

use super::{
    super::{UnitContext, metadata::capture, reparse},
    build,
    heir::{self, Heir},
};
use crate::failpoint;

/// The constraint that says what the rows of a partition have in common.
pub(super) const BOUND: &str = "upshift_bound";

/// A query on a parent locks it before what it is a parent of, and so does the swap.
const LOCK_PARENT: &str = "-- lock the parents of a table
SELECT format('LOCK TABLE ONLY %I.%I IN ACCESS EXCLUSIVE MODE', n.nspname, p.relname)
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhparent AND p.relkind IN ('p', 'r')
JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE i.inhrelid = to_regclass($1)
ORDER BY p.oid";

/// Something that hangs on the table.
#[derive(Debug, Clone)]
pub(super) struct Fact {
    kind: String,
    /// Quoted: what it is on, or itself.
    pub(super) object: String,
    /// Not quoted.
    name: String,
    pub(super) definition: String,
    valid: bool,
    remark: Option<String>,
}

pub(super) async fn run(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Shadow) -> Result<u64> {
    let run = unit.holder.run;
    let path = capture::enter_qualified(tx).await?;
    for lock in capture::texts(tx, LOCK_PARENT, &[Some(&op.table.to_string())]).await? {
        execute(tx, op, &lock).await?;
    }
    execute(
        tx,
        op,
        &format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", op.table),
    )
    .await?;
    finish_indexes(tx, unit, op).await?;
    build::unguard(tx, op).await?;
    let before = facts(tx, &op.table.to_string()).await?;
    let after = renamed_facts(tx, op).await?;
    let new = facts(tx, &op.new_table(run).to_string()).await?;
    let plan = Swap {
        op,
        stand_ins: [op.new_home(run), op.old_home(run)]
            .map(|home| heir::stand_in(&home, &op.table.name)),
        home: ident(&op.table.schema),
        new_home: ident(&op.new_home(run)),
        old_home: ident(&op.old_home(run)),
        before: &before,
        after: &after,
        new: &new,
    };
    let states = plan.identity_states(tx).await?;
    let old: i64 = sqlx::query("-- a table's oid\nSELECT to_regclass($1)::oid::bigint")
        .bind(op.table.to_string())
        .persistent(false)
        .fetch_one(&mut *tx)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(Error::database("finding the old table"))?;
    let [out, into] = plan.there();
    for statement in out {
        execute(tx, op, &statement).await?;
    }
    failpoint::at(failpoint::DURING_SWAP, unit.task).await;
    for statement in into.into_iter().chain(states) {
        execute(tx, op, &statement).await?;
    }
    capture::leave_qualified(tx, &path).await?;
    let mut back = plan.back();
    back.reverse();
    ledger::undo::insert(tx, run, unit.task.id, &back).await?;
    let relation = u32::try_from(old)
        .map_err(|_| Error::Format("the old table has an oid out of range".to_owned()))?;
    let [_, stand_in] = &plan.stand_ins;
    let gone = [
        Deferred::Table { relation },
        Deferred::Statement(format!("DROP TABLE IF EXISTS {stand_in}")),
        Deferred::Statement(format!("DROP SCHEMA IF EXISTS {}", plan.old_home)),
    ];
    deferred::insert(tx, run, unit.task.id, &gone).await?;
    Ok(0)
}

pub(super) async fn undo(tx: &mut PgConnection, unit: &UnitContext<'_>) -> Result<u64> {
    let statements = ledger::undo::take(tx, unit.holder.run, unit.task.id).await?;
    let middle = statements.len() / 2;
    for (place, statement) in statements.into_iter().enumerate() {
        if place == middle {
            failpoint::at(failpoint::DURING_SWAP, unit.task).await;
        }
        execute_raw(tx, statement)
            .await
            .map_err(Error::database(format!("undo of {}", unit.task.label)))?;
    }
    deferred::take(tx, unit.holder.run, unit.task.id).await?;
    Ok(0)
}

async fn execute(tx: &mut PgConnection, op: &Shadow, statement: &str) -> Result<()> {
    execute_raw(tx, statement)
        .await
        .map_err(Error::database(format!("swapping {}", op.table.plain())))?;
    Ok(())
}

/// Indexes become constraints again, and get what is set on them.
async fn finish_indexes(tx: &mut PgConnection, unit: &UnitContext<'_>, op: &Shadow) -> Result<()> {
    let run = unit.holder.run;
    let home = ident(&op.new_home(run));
    // All have been built, unless the plan did not foresee one.
    for one in shadow::load(tx, run, op.pass, Kind::Index, None).await? {
        let name = format!("{home}.{}", ident(&one.name));
        let there = "-- is it there\nSELECT 'yes' WHERE to_regclass($1) IS NOT NULL";
        if capture::texts(tx, there, &[Some(&name)]).await?.is_empty() {
            execute(tx, op, &one.statement).await?;
        }
    }
    for kind in [Kind::Attach, Kind::Mark] {
        for one in shadow::load(tx, run, op.pass, kind, None).await? {
            execute(tx, op, &one.statement).await?;
        }
    }
    Ok(())
}

async fn facts(tx: &mut PgConnection, table: &str) -> Result<Vec<Fact>> {
    let failed = || Error::database("reading what hangs on a table");
    let rows = sqlx::query(include_str!("swap_facts.sql"))
        .bind(table)
        .persistent(false)
        .fetch_all(tx)
        .await
        .map_err(failed())?;
    rows.iter()
        .map(|row| {
            Ok(Fact {
                kind: row.try_get("kind")?,
                object: row.try_get("object")?,
                name: row.try_get("name")?,
                definition: row
                    .try_get::<Option<String>, _>("definition")?
                    .map(reparse::exactly)
                    .unwrap_or_default(),
                valid: row.try_get("valid")?,
                remark: row.try_get("remark")?,
            })
        })
        .collect::<sqlx::Result<_>>()
        .map_err(failed())
}

/// The same with the columns named as the pass leaves them: PostgreSQL writes definitions with the
/// names of the moment, so the old table has the new ones for that moment.
async fn renamed_facts(tx: &mut PgConnection, op: &Shadow) -> Result<Vec<Fact>> {
    let ShadowStage::Swap { renames, .. } = &op.stage else {
        return Ok(Vec::new());
    };
    let rename = |from: &str, to: &str| {
        format!(
            "ALTER TABLE {} RENAME COLUMN {} TO {}",
            op.table,
            ident(from),
            ident(to)
        )
    };
    // By way of names that nobody has, because they may change places.
    let between = |number: usize| format!("upshift_renamed_{number}");
    for (number, (from, _)) in renames.iter().enumerate() {
        execute(tx, op, &rename(from, &between(number))).await?;
    }
    for (number, (_, to)) in renames.iter().enumerate() {
        execute(tx, op, &rename(&between(number), to)).await?;
    }
    let facts = facts(tx, &op.table.to_string()).await?;
    for (number, (_, to)) in renames.iter().enumerate() {
        execute(tx, op, &rename(to, &between(number))).await?;
    }
    for (number, (from, _)) in renames.iter().enumerate() {
        execute(tx, op, &rename(&between(number), from)).await?;
    }
    Ok(facts)
}

/// The swap, in statements.
struct Swap<'a> {
    op: &'a Shadow,
    /// For the parents of the new table and of the old one.
    stand_ins: [String; 2],
    home: String,
    new_home: String,
    old_home: String,
    /// What hangs on the old table.
    before: &'a [Fact],
    /// The same, with the names of columns after the pass.
    after: &'a [Fact],
    /// What hangs on the new table.
    new: &'a [Fact],
}

pub(super) fn of<'f>(
    facts: &'f [Fact],
    kind: &'static str,
) -> impl DoubleEndedIterator<Item = &'f Fact> {
    facts.iter().filter(move |fact| fact.kind == kind)
}

impl Swap<'_> {
    fn keys(&self) -> (&[String], &[AddedKey]) {
        match &self.op.stage {
            ShadowStage::Swap {
                dropped_keys,
                added_keys,
                ..
            } => (dropped_keys, added_keys),
            _ => (&[], &[]),
        }
    }

    /// To the new table: the old one out, the new one in.
    fn there(&self) -> [Vec<String>; 2] {
        let (dropped, added) = self.keys();
        let table = self.op.table.to_string();
        let mut statements = drop_keys(self.before);
        statements.extend(
            of(self.before, "publication")
                .map(|fact| format!("ALTER PUBLICATION {} DROP TABLE ONLY {table}", fact.object)),
        );
        statements.extend(drop_functions(self.before));
        // Checked while nobody needs it, this spares the way back a scan.
        statements.extend(of(self.before, "partition").map(|fact| {
            let check = &fact.name;
            format!("ALTER TABLE {table} ADD CONSTRAINT {BOUND} CHECK ({check}) NOT VALID")
        }));
        statements.extend(self.detach());
        statements.extend(disown(self.before));
        statements.push(format!("CREATE SCHEMA {}", self.old_home));
        let new = self.named(&self.new_home);
        let [old, new] = [(&table, 1), (&new, 0)].map(|(table, n)| self.heir(table, n));
        statements.extend(heir::there(self.before, &old, &new));
        statements.extend(self.moves(&self.home, &self.old_home, &|_| true));
        let out = statements;
        let mut statements = self.moves(&self.new_home, &self.home, &|name| self.is_new(name));
        statements.push(format!("DROP SCHEMA {}", self.new_home));
        statements.extend(self.own(self.after));
        statements.extend(self.attach());
        statements.extend(self.reactions("trigger", "trigger_state", "TRIGGER"));
        statements.extend(self.reactions("rule", "rule_state", "RULE"));
        let kept = |fact: &&Fact| fact.kind != "own_key" || !dropped.contains(&fact.name);
        let keys: Vec<&Fact> = self.after.iter().filter(kept).collect();
        statements.extend(make_keys(keys));
        statements.extend(added.iter().map(|key| {
            format!(
                "ALTER TABLE {table} ADD CONSTRAINT {} {} NOT VALID",
                ident(&key.name),
                key.definition
            )
        }));
        statements.extend(pointers(self.after));
        [out, statements]
    }

    /// Triggers or rules of the new table, with comments, enabled as they were.
    fn reactions(&self, made: &'static str, state: &'static str, class: &str) -> Vec<String> {
        let table = &self.op.table;
        let made = || of(self.after, made);
        let mut statements: Vec<String> = made().map(|fact| fact.definition.clone()).collect();
        statements.extend(made().filter_map(|fact| {
            let remark = literal(fact.remark.as_deref()?);
            Some(format!(
                "COMMENT ON {class} {} ON {table} IS {remark}",
                ident(&fact.name)
            ))
        }));
        statements.extend(of(self.after, state).map(|fact| {
            format!(
                "ALTER TABLE {table} {} {class} {}",
                fact.definition,
                ident(&fact.name)
            )
        }));
        statements
    }

    /// Back to the old one. The pack may have changed what hangs on the table since; that was undone
    /// before this.
    fn back(&self) -> Vec<String> {
        let (dropped, added) = self.keys();
        let table = self.op.table.to_string();
        let parents = of(self.before, "partition").chain(of(self.before, "parent"));
        let lock =
            |fact: &Fact| format!("LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", fact.object);
        let mut statements: Vec<String> = parents.map(lock).collect();
        let own = of(self.before, "own_key").filter(|fact| !dropped.contains(&fact.name));
        let own = own
            .map(|fact| &fact.name)
            .chain(added.iter().map(|key| &key.name));
        statements.extend(own.map(|name| {
            format!(
                "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {}",
                ident(name)
            )
        }));
        statements.extend(of(self.before, "key").map(|fact| {
            format!(
                "ALTER TABLE {} DROP CONSTRAINT IF EXISTS {}",
                fact.object,
                ident(&fact.name)
            )
        }));
        statements.extend(drop_functions(self.before));
        statements.extend(self.detach());
        statements.extend(disown(self.before));
        let old = self.named(&self.old_home);
        statements.extend(heir::back(self.before, &self.heir(&old, 1), &table));
        statements.push(format!("CREATE SCHEMA {}", self.new_home));
        statements.extend(self.moves(&self.home, &self.new_home, &|name| self.is_new(name)));
        statements.extend(self.moves(&self.old_home, &self.home, &|_| true));
        statements.push(format!("DROP SCHEMA {}", self.old_home));
        statements.extend(self.own(self.before));
        statements.extend(self.attach());
        statements.extend(make_keys(self.before.iter().collect()));
        statements.extend(pointers(self.before));
        statements
    }

    /// The table in a schema.
    fn named(&self, home: &str) -> String {
        format!("{home}.{}", ident(&self.op.table.name))
    }

    fn heir<'h>(&'h self, table: &'h str, stand_in: usize) -> Heir<'h> {
        let stand_in = &self.stand_ins[stand_in];
        Heir { table, stand_in }
    }

    /// A partition leaves its parent.
    fn detach(&self) -> impl Iterator<Item = String> {
        of(self.before, "partition").map(|fact| {
            format!(
                "ALTER TABLE {} DETACH PARTITION {}",
                fact.object, self.op.table
            )
        })
    }

    /// The table in use takes its place. Its rows are known to belong there.
    fn attach(&self) -> impl Iterator<Item = String> {
        of(self.before, "partition").flat_map(|fact| {
            let (parent, bound, table) = (&fact.object, &fact.definition, &self.op.table);
            [
                format!("ALTER TABLE {parent} ATTACH PARTITION {table} {bound}"),
                format!("ALTER TABLE {table} DROP CONSTRAINT {BOUND}"),
            ]
        })
    }

    /// The table of one schema into another, with what has a name of its own beside it.
    fn moves(&self, from: &str, to: &str, has: &dyn Fn(&str) -> bool) -> Vec<String> {
        let table = ident(&self.op.table.name);
        let mut moves = vec![format!("ALTER TABLE {from}.{table} SET SCHEMA {to}")];
        // Extended statistics have a schema of their own choice; the table's stays theirs.
        for fact in of(self.before, "statistics").filter(|fact| has(&fact.name)) {
            let place = |home: &str| match home == self.home {
                true => fact.object.clone(),
                false => home.to_owned(),
            };
            moves.push(format!(
                "ALTER STATISTICS {}.{} SET SCHEMA {}",
                place(from),
                ident(&fact.name),
                place(to)
            ));
        }
        moves
    }

    /// Whether the new table has extended statistics of that name: they go with a column.
    fn is_new(&self, statistics: &str) -> bool {
        of(self.new, "statistics").any(|fact| fact.name == statistics)
    }

    /// The table in use owns its sequences.
    fn own(&self, facts: &[Fact]) -> Vec<String> {
        of(facts, "sequence")
            .map(|fact| {
                format!(
                    "ALTER SEQUENCE {} OWNED BY {}.{}",
                    fact.object,
                    self.op.table,
                    ident(&fact.name)
                )
            })
            .collect()
    }

    /// Identity columns have a sequence for each table: the new one goes on where the old one stands.
    async fn identity_states(&self, tx: &mut PgConnection) -> Result<Vec<String>> {
        let mut statements = Vec::new();
        for fact in of(self.before, "identity") {
            let there = of(self.new, "identity").any(|new| new.name == fact.name);
            if !there {
                continue;
            }
            let query = format!(
                "-- a sequence's state
                SELECT format('SELECT pg_catalog.setval(%L, %s, %L)', $1, last_value, is_called) \
                 FROM {}",
                fact.object
            );
            statements.extend(capture::texts(tx, query, &[Some(&fact.object)]).await?);
            statements.extend(capture::privileges(tx, &fact.object).await?);
        }
        Ok(statements)
    }
}

/// Functions with the row type in their signature: in use it will be another type.
fn drop_functions(facts: &[Fact]) -> Vec<String> {
    // A body that could not be made now is none of the swap's business.
    let unchecked = "SELECT pg_catalog.set_config('check_function_bodies', 'off', true)".to_owned();
    // FUNCTION or PROCEDURE, and its signature.
    let drop = |fact: &Fact| format!("DROP {}", fact.object.replacen(' ', " IF EXISTS ", 1));
    [unchecked]
        .into_iter()
        .chain(of(facts, "typed_function").map(drop))
        .collect()
}

/// What stands elsewhere and is about the table: its memberships, functions, views, rules of other
/// relations.
fn pointers(facts: &[Fact]) -> Vec<String> {
    let member = |fact: &Fact| {
        format!(
            "ALTER PUBLICATION {} ADD TABLE ONLY {}",
            fact.object, fact.definition
        )
    };
    let functions = of(facts, "typed_function").chain(of(facts, "function"));
    let replaced = functions
        .chain(of(facts, "view"))
        .chain(of(facts, "other_rule"));
    of(facts, "publication")
        .map(member)
        .chain(replaced.map(|fact| fact.definition.clone()))
        .collect()
}

/// Sequences that belong to nobody for a moment: they stay where they are when the table moves.
fn disown(facts: &[Fact]) -> Vec<String> {
    of(facts, "sequence")
        .map(|fact| format!("ALTER SEQUENCE {} OWNED BY NONE", fact.object))
        .collect()
}

/// Foreign keys of the old table, and those that point at it.
fn drop_keys(facts: &[Fact]) -> Vec<String> {
    of(facts, "own_key")
        .chain(of(facts, "key"))
        .map(|fact| {
            format!(
                "ALTER TABLE {} DROP CONSTRAINT {}",
                fact.object,
                ident(&fact.name)
            )
        })
        .collect()
}

/// The same, made for whichever table now has the name.
fn make_keys(facts: Vec<&Fact>) -> Vec<String> {
    let mut statements = Vec::new();
    let keys = facts
        .iter()
        .filter(|fact| matches!(fact.kind.as_str(), "own_key" | "key"));
    for fact in keys {
        // One that was NOT VALID says so itself.
        let not_valid = if fact.valid { " NOT VALID" } else { "" };
        statements.push(format!(
            "ALTER TABLE {} ADD CONSTRAINT {} {}{not_valid}",
            fact.object,
            ident(&fact.name),
            fact.definition
        ));
        if let Some(remark) = &fact.remark {
            statements.push(format!(
                "COMMENT ON CONSTRAINT {} ON {} IS {}",
                ident(&fact.name),
                fact.object,
                literal(remark)
            ));
        }
    }
    statements
}
