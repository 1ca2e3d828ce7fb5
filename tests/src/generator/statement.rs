//! Random DML over the generator's world.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use upshift_shared::pg::ident::ident;

use super::schema::{Column, Key, Kind, Table, World};

impl World {
    /// An UPDATE, DELETE, INSERT or the like.
    pub(super) fn statement(&mut self, random: &mut StdRng) -> String {
        let table = self.any_table(random);
        match random.random_range(0..20) {
            0..=6 => self.update(random, table),
            7 | 8 => self.update_by_join(random, table),
            9 | 10 => self.update_by_self_join(random, table),
            11 => self.update_by_aggregate(random, table),
            12..=14 => self.delete(random, table),
            15..=17 => self.insert_select(random, table),
            18 => self.insert_values(random, table),
            _ => self.upsert_or_truncate(random, table),
        }
    }

    fn update(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let Some(first) = table.plain_column(random) else {
            return no_change(table);
        };
        let mut sets = vec![assignment(random, table, &table.columns[first])];
        if let Some(second) = table.plain_column(random).filter(|c| *c != first) {
            sets.push(assignment(random, table, &table.columns[second]));
        }
        let filter = predicate(random, table, "");
        format!("UPDATE {} SET {}{filter}", table.quoted(), sets.join(", "))
    }

    /// From the row that a foreign key points at: at most one.
    fn update_by_join(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let link = table.columns.iter().find(|c| c.references.is_some());
        let (Some(link), Some(target)) = (link, table.plain_column(random)) else {
            return self.update(random, place);
        };
        let column = &table.columns[target];
        let other = &self.tables[link.references.unwrap_or(0)];
        let source = other.column_of(random, column.kind).map_or_else(
            || column.kind.constant(random),
            |c| format!("o.{}", ident(&c.name)),
        );
        let source = not_null(random, column, source);
        format!(
            "UPDATE {} AS t SET {} = {source} FROM {} AS o WHERE o.id = t.{}",
            table.quoted(),
            ident(&column.name),
            other.quoted(),
            ident(&link.name)
        )
    }

    /// The way people write an UPDATE with an outer join.
    fn update_by_self_join(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let (Some(target), true) = (
            table.plain_column(random),
            matches!(table.key, Key::Serial | Key::Identity),
        ) else {
            return self.update(random, place);
        };
        let column = &table.columns[target];
        let link = table.columns.iter().find(|c| c.references.is_some());
        let (join, source) = match link {
            Some(link) => {
                let other = &self.tables[link.references.unwrap_or(0)];
                let source = other.column_of(random, column.kind).map_or_else(
                    || column.kind.constant(random),
                    |c| format!("o.{}", ident(&c.name)),
                );
                (
                    format!(
                        " LEFT JOIN {} AS o ON o.id = b.{}",
                        other.quoted(),
                        ident(&link.name)
                    ),
                    source,
                )
            }
            None => (
                format!(" LEFT JOIN {} AS o ON o.id = b.id - 1", table.quoted()),
                format!("o.{}", ident(&column.name)),
            ),
        };
        let source = not_null(random, column, source);
        format!(
            "UPDATE {0} AS a SET {1} = {source} FROM {0} AS b{join} WHERE a.id = b.id",
            table.quoted(),
            ident(&column.name)
        )
    }

    /// What no chunk would see whole.
    fn update_by_aggregate(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let other = &self.tables[self.any_table(random)];
        let Some(column) = table
            .column_of(random, Kind::Integer)
            .filter(|c| c.references.is_none())
        else {
            return self.update(random, place);
        };
        format!(
            "UPDATE {} AS t SET {} = (SELECT count(*) FROM {} AS o WHERE o.id < t.id)",
            table.quoted(),
            ident(&column.name),
            other.quoted()
        )
    }

    fn delete(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let link = table.columns.iter().find(|c| c.references.is_some());
        match link {
            Some(link) if random.random_bool(0.4) => {
                let other = &self.tables[link.references.unwrap_or(0)];
                format!(
                    "DELETE FROM {} AS t USING {} AS o WHERE o.id = t.{} AND o.id % {} = 0",
                    table.quoted(),
                    other.quoted(),
                    ident(&link.name),
                    random.random_range(2..9)
                )
            }
            _ => format!(
                "DELETE FROM {} WHERE id % {} = {}",
                table.quoted(),
                random.random_range(5..30),
                random.random_range(0..5)
            ),
        }
    }

    /// Ids that are drawn come in the order of the statement.
    fn insert_select(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        if !matches!(table.key, Key::Serial | Key::Identity) {
            return self.delete(random, place);
        }
        let source = &self.tables[self.any_table(random)];
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for column in table.columns.iter().filter(|c| c.references.is_none()) {
            if !column.not_null && random.random_bool(0.3) {
                continue;
            }
            names.push(ident(&column.name));
            let value = source.column_of(random, column.kind).map_or_else(
                || column.kind.constant(random),
                |c| format!("s.{}", ident(&c.name)),
            );
            values.push(not_null(random, column, value));
        }
        if names.is_empty() {
            return no_change(table);
        }
        let order = if source.key == Key::Composite {
            "s.id, s.part"
        } else {
            "s.id"
        };
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM {} AS s WHERE s.id % {} = 1 ORDER BY {order}",
            table.quoted(),
            names.join(", "),
            values.join(", "),
            source.quoted(),
            random.random_range(2..6)
        )
    }

    fn insert_values(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        if !matches!(table.key, Key::Serial | Key::Identity) {
            return self.update(random, place);
        }
        let plain: Vec<&Column> = table
            .columns
            .iter()
            .filter(|c| c.references.is_none())
            .collect();
        if plain.is_empty() {
            return format!("INSERT INTO {} DEFAULT VALUES", table.quoted());
        }
        let names: Vec<String> = plain.iter().map(|c| ident(&c.name)).collect();
        let rows: Vec<String> = (0..random.random_range(1..4))
            .map(|_| {
                let values: Vec<String> = plain.iter().map(|c| c.kind.constant(random)).collect();
                format!("({})", values.join(", "))
            })
            .collect();
        format!(
            "INSERT INTO {} ({}) VALUES {}",
            table.quoted(),
            names.join(", "),
            rows.join(", ")
        )
    }

    /// What keeps a copy of the table.
    fn upsert_or_truncate(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let column = table.columns.iter().find(|c| c.references.is_none());
        let nothing_else_needed = table
            .columns
            .iter()
            .all(|c| !c.not_null || Some(&c.name) == column.map(|c| &c.name));
        match (column, table.key) {
            (Some(column), Key::Serial | Key::Identity) if nothing_else_needed => format!(
                "INSERT INTO {} (id, {name}) SELECT i, {} FROM generate_series(1, 40, 3) AS i \
                 ON CONFLICT (id) DO UPDATE SET {name} = excluded.{name}",
                table.quoted(),
                column.kind.constant(random),
                name = ident(&column.name)
            ),
            _ => {
                let pointed_at = self
                    .tables
                    .iter()
                    .any(|t| t.columns.iter().any(|c| c.references == Some(place)));
                if pointed_at {
                    no_change(table)
                } else {
                    format!("TRUNCATE {}", table.quoted())
                }
            }
        }
    }
}

fn no_change(table: &Table) -> String {
    format!("COMMENT ON TABLE {} IS 'nothing to change'", table.quoted())
}

fn assignment(random: &mut StdRng, table: &Table, column: &Column) -> String {
    let name = ident(&column.name);
    let other = table
        .column_of(random, column.kind)
        .map_or_else(|| name.clone(), |c| ident(&c.name));
    let value = match (column.kind, random.random_range(0..4)) {
        (_, 0) => column.kind.constant(random),
        (_, 1) if !column.not_null => "NULL".to_owned(),
        (Kind::Integer, 2) => format!("{other} + id::integer % 1000"),
        (Kind::Integer, _) => {
            format!("CASE WHEN {other} > 40 THEN {other} / 2 ELSE id::integer % 50 END")
        }
        (Kind::Text, _) => format!("upper({other}) || '-' || coalesce(id::text, '')"),
        (Kind::Varchar, _) => format!("substr(md5(concat({other}, id)), 1, 20)"),
        (Kind::Numeric, _) => format!("round({other} * 1.19, 2)"),
        (Kind::Boolean, _) => format!("NOT {other}"),
        (Kind::Date, _) => format!("{other} + 30"),
        (Kind::Double, _) => format!("{other} * 2"),
    };
    format!("{name} = {}", not_null(random, column, value))
}

fn predicate(random: &mut StdRng, table: &Table, prefix: &str) -> String {
    if random.random_bool(0.3) {
        return String::new();
    }
    let kinds = [Kind::Integer, Kind::Text, Kind::Boolean, Kind::Date];
    let kind = *kinds.choose(random).unwrap_or(&Kind::Integer);
    let Some(column) = table.column_of(random, kind) else {
        return format!(" WHERE {prefix}id % {} <> 0", random.random_range(2..7));
    };
    let name = format!("{prefix}{}", ident(&column.name));
    match kind {
        Kind::Integer => format!(
            " WHERE {name} BETWEEN 10 AND {}",
            random.random_range(20..90)
        ),
        Kind::Boolean => format!(
            " WHERE {name}{}",
            [" IS NOT TRUE", " IS NULL", ""]
                .choose(random)
                .unwrap_or(&"")
        ),
        Kind::Date => format!(" WHERE {name} > date '2020-09-01'"),
        _ => format!(" WHERE {name} LIKE '%{}%'", random.random_range(1..6)),
    }
}

/// Mostly keeps NULL out of a column that refuses it; sometimes not, so that statements fail.
fn not_null(random: &mut StdRng, column: &Column, value: String) -> String {
    if column.not_null && random.random_bool(0.93) {
        format!("coalesce({value}, {})", column.kind.constant(random))
    } else {
        value
    }
}
