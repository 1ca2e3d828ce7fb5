//! Random DML of a case for passes.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use upshift_shared::pg::ident::ident;

use super::{
    expression::Scope,
    schema::{Column, Kind, Table, World},
};

impl World {
    /// An UPDATE, DELETE or now and then an INSERT.
    pub(super) fn statement(&mut self, random: &mut StdRng, place: usize) -> String {
        match random.random_range(0..26) {
            0..=8 => self.update(random, place),
            9..=11 => self.update_by_parent(random, place),
            12..=14 => self.update_by_self_join(random, place),
            15 | 16 => self.update_by_neighbour(random, place),
            17 => self.update_by_children(random, place),
            18 => self.update_by_query(random, place),
            19..=21 => self.delete(random, place),
            _ if self.easy => self.update(random, place),
            22 => self.insert(random, place),
            23 | 24 => self.update_by_several(random, place),
            _ => self.touch_other(random, place),
        }
    }

    /// Several columns from one row: a row of values, or that of a query, which may be none.
    fn set_several(&self, random: &mut StdRng, table: &Table, scope: &Scope) -> Option<String> {
        let (one, two) = (table.plain(random)?, table.plain(random)?);
        if one.name == two.name {
            return None;
        }
        let names = format!("({}, {})", ident(&one.name), ident(&two.name));
        let mut value = |column: &Column| {
            let value = scope.value(random, column.kind);
            not_null(random, column, value)
        };
        let row = format!("{}, {}", value(one), value(two));
        if one.not_null || two.not_null || random.random_bool(0.4) {
            return Some(format!("{names} = ({row})"));
        }
        let other = self.tables.choose(random)?;
        let from = match (other.key.is_id(), scope.alias()) {
            (true, Some(alias)) => {
                format!("FROM {} AS m WHERE m.id = {alias}.id + 1", other.quoted())
            }
            _ => "WHERE true".to_owned(),
        };
        Some(format!("{names} = (SELECT {row} {from})"))
    }

    /// The SET list over what is in sight. PostgreSQL refuses a column twice.
    fn set(&self, random: &mut StdRng, table: &Table, scope: &Scope) -> Option<String> {
        if random.random_bool(0.08)
            && let Some(several) = self.set_several(random, table, scope)
        {
            return Some(several);
        }
        let mut names: Vec<&str> = Vec::new();
        let mut sets = Vec::new();
        for _ in 0..random.random_range(1..=3) {
            let column = table.plain(random)?;
            if names.contains(&column.name.as_str()) {
                continue;
            }
            names.push(&column.name);
            let value = scope.value(random, column.kind);
            if random.random_bool(0.06) && !column.not_null {
                sets.push(format!("{} = DEFAULT", ident(&column.name)));
                continue;
            }
            if random.random_bool(0.03) {
                let value = not_null(random, column, value);
                sets.push(format!("({}) = ROW ({value})", ident(&column.name)));
                continue;
            }
            sets.push(format!(
                "{} = {}",
                ident(&column.name),
                not_null(random, column, value)
            ));
        }
        Some(sets.join(", "))
    }

    /// With scalar subqueries in sight, now and then.
    fn sight(&self, random: &mut StdRng, table: &Table, alias: &str) -> Scope {
        let mut scope = Scope::default().with(table, alias);
        if alias.is_empty() || random.random_bool(0.6) {
            return scope;
        }
        let links = table.columns.iter();
        for link in links.filter(|c| c.references.is_some()) {
            let other = &self.tables[link.references.unwrap_or(0)];
            if let Some(column) = other.columns.choose(random) {
                scope.subqueries.push((
                    format!(
                        "(SELECT s.{} FROM {} AS s WHERE s.id = {alias}.{})",
                        ident(&column.name),
                        other.quoted(),
                        ident(&link.name)
                    ),
                    column.kind,
                ));
            }
        }
        let others = self.tables.iter().filter(|other| other.name != table.name);
        let others: Vec<&Table> = others.collect();
        if let Some(other) = others.choose(random) {
            scope.subqueries.push((
                format!(
                    "(SELECT count(*)::integer FROM {} AS s WHERE s.id % 50 = {alias}.id)",
                    other.quoted()
                ),
                Kind::Int,
            ));
        }
        scope
    }

    fn update(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let alias = *["", "", "t", "l", "u", "o"].choose(random).unwrap_or(&"");
        let scope = self.sight(random, table, alias);
        let Some(set) = self.set(random, table, &scope) else {
            return no_change(table);
        };
        let called = if alias.is_empty() {
            String::new()
        } else {
            format!(" AS {alias}")
        };
        let only = if random.random_bool(0.05) {
            "ONLY "
        } else {
            ""
        };
        let filter = self.filter(random, &scope, " WHERE");
        format!("UPDATE {only}{}{called} SET {set}{filter}", table.quoted())
    }

    fn filter(&self, random: &mut StdRng, scope: &Scope, word: &str) -> String {
        if random.random_bool(0.25) {
            String::new()
        } else {
            format!("{word} {}", scope.condition(random, 2))
        }
    }

    /// From the row that a foreign key points at: at most one.
    fn update_by_parent(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let links: Vec<&Column> = table
            .columns
            .iter()
            .filter(|c| c.references.is_some())
            .collect();
        let Some(link) = links.choose(random) else {
            return self.update(random, place);
        };
        let other = &self.tables[link.references.unwrap_or(0)];
        let scope = self.sight(random, table, "t").with(other, "p");
        let Some(set) = self.set(random, table, &scope) else {
            return no_change(table);
        };
        let filter = self.filter(random, &scope, " AND");
        let link = ident(&link.name);
        if random.random_bool(0.15) {
            let query = ["", "", "MATERIALIZED "].choose(random).unwrap_or(&"");
            return format!(
                "WITH w AS {query}(SELECT * FROM {} WHERE id % 4 <> 2) UPDATE {} AS t SET {set} FROM w AS p \
                 WHERE p.id = t.{link}{filter}",
                other.quoted(),
                table.quoted()
            );
        }
        let from = match random.random_range(0..8) {
            // What the other condition spares.
            6 => format!(
                "{} AS p WHERE p.id = 60 / (t.id % 7) AND t.id % 7 <> 0",
                other.quoted()
            ),
            7 => format!(
                "{} AS p WHERE 60 / (t.id % 7) < 12 AND t.id % 7 > 0 AND p.id = t.{link}",
                other.quoted()
            ),
            4 => format!(
                "{0} AS p JOIN {0} AS q USING (id) WHERE p.id = t.{link}",
                other.quoted()
            ),
            5 => format!(
                "{} AS p, {} AS q WHERE p.id = t.{link} AND q.id = p.id + 1",
                other.quoted(),
                other.quoted()
            ),
            0 => format!("{} AS p WHERE t.{link} = p.id", other.quoted()),
            1 => format!(
                "(SELECT * FROM {} WHERE id % 3 <> 1) AS p WHERE p.id = t.{link}",
                other.quoted()
            ),
            2 => format!(
                "{0} AS p JOIN {0} AS q ON q.id = p.id WHERE p.id = t.{link}",
                other.quoted()
            ),
            _ => format!("{} AS p WHERE p.id = t.{link}", other.quoted()),
        };
        format!(
            "UPDATE {} AS t SET {set} FROM {from}{filter}",
            table.quoted()
        )
    }

    /// The way people write an UPDATE with an outer join.
    fn update_by_self_join(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let Some(same) = table.key.same_row("a", "b") else {
            return self.update(random, place);
        };
        let mut scope = Scope::default().with(table, "b");
        if random.random_bool(0.4) {
            scope = scope.with(table, "a");
        }
        let mut joins = String::new();
        let links = table.columns.iter().filter(|c| c.references.is_some());
        for (number, link) in links.enumerate() {
            let other = &self.tables[link.references.unwrap_or(0)];
            let name = format!("o{number}");
            let kind = *["LEFT ", "LEFT ", "LEFT ", ""]
                .choose(random)
                .unwrap_or(&"");
            joins += &format!(
                " {kind}JOIN {} AS {name} ON {name}.id = b.{}",
                other.quoted(),
                ident(&link.name)
            );
            scope = scope.with(other, &name);
        }
        let Some(set) = self.set(random, table, &scope) else {
            return no_change(table);
        };
        let filter = self.filter(random, &scope, " AND");
        format!(
            "UPDATE {0} AS a SET {set} FROM {0} AS b{joins} WHERE {same}{filter}",
            table.quoted()
        )
    }

    /// The previous row, by what is unique.
    fn update_by_neighbour(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        if !table.key.is_id() {
            return self.update(random, place);
        }
        let mut scope = Scope::default().with(table, "a");
        if random.random_bool(0.7) {
            scope = scope.with(table, "b");
        }
        let Some(set) = self.set(random, table, &scope) else {
            return no_change(table);
        };
        let filter = self.filter(random, &scope, " AND");
        let neighbour = *["b.id = a.id - 1", "a.id = b.id + 3"]
            .choose(random)
            .unwrap_or(&"");
        format!(
            "UPDATE {0} AS a SET {set} FROM {0} AS b WHERE {neighbour}{filter}",
            table.quoted()
        )
    }

    /// Rows that may be several for one; what is assigned does not depend on which.
    fn update_by_children(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let scope = Scope::default().with(table, "t");
        let Some(set) = self.set(random, table, &scope) else {
            return no_change(table);
        };
        for other in &self.tables {
            let link = other.columns.iter().find(|c| c.references == Some(place));
            if let Some(link) = link {
                let link = ident(&link.name);
                return match random.random_range(0..3) {
                    0 => format!(
                        "UPDATE {} AS t SET {set} FROM {} AS c WHERE c.{link} = t.id",
                        table.quoted(),
                        other.quoted()
                    ),
                    1 => format!(
                        "UPDATE {} AS t SET {set} FROM (SELECT {link} AS k, count(*) AS n FROM {} \
                         GROUP BY {link}) AS c WHERE c.k = t.id AND c.n > 1",
                        table.quoted(),
                        other.quoted()
                    ),
                    _ => format!(
                        "UPDATE {} AS t SET {set} WHERE EXISTS (SELECT FROM {} AS c WHERE c.{link} = \
                         t.id)",
                        table.quoted(),
                        other.quoted()
                    ),
                };
            }
        }
        self.update(random, place)
    }

    /// Rows that are only looked for, by columns that are no key: several may be found for one, or NULL.
    fn update_by_several(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let scope = Scope::default().with(table, "t");
        let (Some(set), Some(other)) =
            (self.set(random, table, &scope), self.tables.choose(random))
        else {
            return no_change(table);
        };
        let comparable = |own: &Column, theirs: &Column| {
            own.kind == theirs.kind && !matches!(own.kind, Kind::Json | Kind::Positive)
        };
        let mut pairs = Vec::new();
        for own in &table.columns {
            let theirs = other
                .columns
                .iter()
                .filter(|theirs| comparable(own, theirs));
            pairs.extend(theirs.map(|theirs| {
                let (own, theirs) = (ident(&own.name), ident(&theirs.name));
                (format!("t.{own}"), format!("p.{theirs}"))
            }));
        }
        let mut conditions = Vec::new();
        for _ in 0..random.random_range(1..=2) {
            if let Some((own, theirs)) = pairs.choose(random) {
                conditions.push(match random.random_bool(0.5) {
                    true => format!("{own} = {theirs}"),
                    false => format!("{theirs} = {own}"),
                });
            }
        }
        if conditions.is_empty() {
            return self.update(random, place);
        }
        if random.random_bool(0.4) && other.key.is_id() {
            conditions.push("p.id % 3 <> 1".to_owned());
        }
        let filter = self.filter(random, &scope, " AND");
        format!(
            "UPDATE {} AS t SET {set} FROM {} AS p WHERE {}{filter}",
            table.quoted(),
            other.quoted(),
            conditions.join(" AND ")
        )
    }

    fn update_by_query(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let scope = Scope::default().with(table, "t");
        let Some(set) = self.set(random, table, &scope) else {
            return no_change(table);
        };
        let other = &self.tables[random.random_range(0..self.tables.len())];
        let condition = match random.random_range(0..4) {
            0 => format!(
                "t.id IN (SELECT id FROM {} WHERE id % 2 = 0)",
                other.quoted()
            ),
            1 => format!("t.id NOT IN (SELECT id FROM {})", other.quoted()),
            2 => format!("t.id > (SELECT avg(id) FROM {})", other.quoted()),
            _ => {
                return format!(
                    "UPDATE {} AS t SET {set} FROM (VALUES (1, 2), (3, 4)) AS v (a, b) WHERE v.a = t.id",
                    table.quoted()
                );
            }
        };
        format!("UPDATE {} AS t SET {set} WHERE {condition}", table.quoted())
    }

    fn delete(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        // Most keys refuse it.
        let pointed_at = |c: &Column| c.references == Some(place);
        let pointed_at = self.tables.iter().flat_map(|t| &t.columns).any(pointed_at);
        if pointed_at && random.random_bool(0.8) {
            return self.update(random, place);
        }
        let scope = Scope::default().with(table, "t");
        let links: Vec<&Column> = table
            .columns
            .iter()
            .filter(|c| c.references.is_some())
            .collect();
        let few = format!(
            "t.id % {} = {}",
            random.random_range(5..30),
            random.random_range(0..5)
        );
        let condition = scope.condition(random, 1);
        match links.choose(random) {
            Some(link) if random.random_bool(0.6) => {
                let other = &self.tables[link.references.unwrap_or(0)];
                let wide = scope.with(other, "p");
                format!(
                    "DELETE FROM {} AS t USING {} AS p WHERE p.id = t.{} AND {few} AND {}",
                    table.quoted(),
                    other.quoted(),
                    ident(&link.name),
                    wide.condition(random, 1)
                )
            }
            _ => match (random.random_range(0..6), table.key.same_row("t", "b")) {
                (0, Some(same)) => format!(
                    "DELETE FROM {0} AS t USING {0} AS b WHERE {same} AND {few} AND {condition}",
                    table.quoted()
                ),
                (1, _) => format!(
                    "DELETE FROM {} AS t WHERE {few} AND NOT EXISTS (SELECT FROM {} AS s WHERE s.id = \
                     t.id + 5)",
                    table.quoted(),
                    self.tables[0].quoted()
                ),
                _ => format!(
                    "DELETE FROM {} AS t WHERE {few} AND {condition}",
                    table.quoted()
                ),
            },
        }
    }

    fn insert(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        if !table.key.is_id() {
            return self.update(random, place);
        }
        let columns = table.columns.iter();
        let columns: Vec<&Column> = columns
            .filter(|c| {
                !c.computed && (c.not_null || c.name.len() % 2 == 0) && c.references.is_none()
            })
            .collect();
        if columns.is_empty() {
            return format!("INSERT INTO {} DEFAULT VALUES", table.quoted());
        }
        let names: Vec<String> = columns.iter().map(|c| ident(&c.name)).collect();
        let values: Vec<String> = columns
            .iter()
            .map(|c| super::expression::constant(random, c.kind))
            .collect();
        format!(
            "INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {})",
            table.quoted(),
            names.join(", "),
            values.join(", "),
            random.random_range(1..4)
        )
    }

    /// Another table from this one: what has to come before or after a pass over this one.
    fn touch_other(&self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let other = random.random_range(0..self.tables.len());
        let scope = Scope::default()
            .with(&self.tables[other], "t")
            .with(table, "p");
        match self.set(random, &self.tables[other], &scope) {
            Some(set) if other != place && table.key.is_id() => format!(
                "UPDATE {} AS t SET {set} FROM {} AS p WHERE p.id = t.id",
                self.tables[other].quoted(),
                table.quoted()
            ),
            _ => self.update(random, place),
        }
    }
}

pub(super) fn no_change(table: &Table) -> String {
    format!("COMMENT ON TABLE {} IS 'nothing to change'", table.quoted())
}

/// Mostly keeps NULL out of a column that refuses it; sometimes not, so that statements fail.
fn not_null(random: &mut StdRng, column: &Column, value: String) -> String {
    if column.not_null && random.random_bool(0.98) {
        format!(
            "coalesce({value}, {})",
            super::expression::constant(random, column.kind)
        )
    } else {
        value
    }
}
