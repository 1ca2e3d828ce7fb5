//! Statement by statement: class, verdict, reads and writes.

use std::collections::BTreeSet;

use upshift_shared::pack::Directives;

use super::bind;
use crate::compile::{
    analyse::fixture::{catalog, path},
    error::BindError,
    model::{Bound, Chunk, Class},
};

fn try_bound(sql: &str, directives: &Directives) -> Result<Bound, BindError> {
    let parsed = pg_query::parse(sql, 0)
        .expect("the test's SQL parses")
        .protobuf;
    let node = parsed.stmts[0].stmt.as_ref().expect("a statement");
    bind(node, sql, directives, &catalog(), &path())
}

fn bound(sql: &str) -> Bound {
    try_bound(sql, &Directives::default()).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The class and the verdict in one line.
fn verdict(bound: &Bound) -> String {
    let chunk = |chunk: &Chunk| match chunk {
        Chunk::ByKey(why) => format!("by key: {why}"),
        Chunk::Whole(why) => format!("whole: {why}"),
    };
    match &bound.class {
        Class::Update(dml) => format!("update {}", chunk(&dml.chunk)),
        Class::Delete(dml) => format!("delete {}", chunk(&dml.chunk)),
        Class::Insert(insert) => format!("insert {}", chunk(&insert.chunk)),
        Class::Copying { tables, why } => {
            let tables: Vec<&str> = tables.iter().map(|t| t.table.as_str()).collect();
            format!("copying {}: {why}", tables.join(" "))
        }
        Class::Opaque { why, .. } => format!("opaque: {why}"),
        Class::Query => "query".to_owned(),
        other => format!("{other:?}"),
    }
}

mod smoke {
    use super::*;

    #[test]
    fn prints() {
        for sql in [
            "UPDATE partner SET name = upper(name) WHERE active",
            "UPDATE move a SET name = u.name FROM move b LEFT JOIN partner u ON u.id = b.partner_id WHERE a.id = b.id",
            "UPDATE move a SET gap = false FROM move b WHERE a.journal_id = b.journal_id AND a.number = b.number + 1",
            "DELETE FROM line WHERE qty = 0",
            "INSERT INTO line (id, name) SELECT id, name FROM move",
        ] {
            let b = bound(sql);
            println!(
                "{sql}\n  {}\n  R {:?}\n  W {:?}",
                verdict(&b),
                b.reads,
                b.writes
            );
        }
        let _: BTreeSet<u8> = BTreeSet::new();
    }
}
