//! Random DDL of a case for passes; the world follows.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use upshift_shared::pg::ident::ident;

use super::{
    expression::constant,
    schema::{Kind, World},
    statement::no_change,
};

impl World {
    /// A change of the schema.
    pub(super) fn change(&mut self, random: &mut StdRng, place: usize) -> String {
        match random.random_range(0..24) {
            0..=4 => self.add_column(random, place),
            5 | 6 => self.drop_column(random, place),
            7..=9 => self.rename_column(random, place),
            10..=12 => self.change_type(random, place),
            13 => self.change_null(random, place),
            14 => self.change_default(random, place),
            15..=17 => self.create_index(random, place),
            18 => self.add_constraint(random, place),
            19 => self.add_key(random, place),
            20 => self.drop_something(random, place),
            21 => self.set_something(random, place),
            22 => self.add_several(random, place),
            _ if self.easy => self.add_column(random, place),
            _ => self.look_at(random, place),
        }
    }

    fn add_column(&mut self, random: &mut StdRng, place: usize) -> String {
        let column = self.new_column(random);
        let default = if column.not_null || random.random_bool(0.3) {
            format!(" DEFAULT {}", constant(random, column.kind))
        } else {
            String::new()
        };
        let not_null = if column.not_null { " NOT NULL" } else { "" };
        let sql = format!(
            "ALTER TABLE {} ADD COLUMN {} {}{default}{not_null}",
            self.tables[place].quoted(),
            ident(&column.name),
            column.kind.sql()
        );
        let table = &mut self.tables[place];
        if column.not_null || random.random_bool(0.3) {
            table.columns.push(column);
            return sql;
        }
        // Filled right away, as people do.
        let value = constant(random, column.kind);
        let sql = format!(
            "{sql};\nUPDATE {} SET {} = {value}",
            table.quoted(),
            ident(&column.name)
        );
        table.columns.push(column);
        sql
    }

    fn add_several(&mut self, random: &mut StdRng, place: usize) -> String {
        let (one, two) = (self.new_column(random), self.new_column(random));
        let sql = format!(
            "ALTER TABLE {} ADD COLUMN {} {}, ADD COLUMN {} {} DEFAULT {}",
            self.tables[place].quoted(),
            ident(&one.name),
            one.kind.sql(),
            ident(&two.name),
            two.kind.sql(),
            constant(random, two.kind)
        );
        for mut column in [one, two] {
            column.not_null = false;
            self.tables[place].columns.push(column);
        }
        sql
    }

    fn drop_column(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &mut self.tables[place];
        match table.free(random) {
            Some(column) if !table.stiff && table.columns.len() > 2 => {
                let column = table.columns.remove(column);
                // Indexes and constraints on it are gone too.
                table.indexes.clear();
                table.constraints.clear();
                format!(
                    "ALTER TABLE {} DROP COLUMN {}",
                    table.quoted(),
                    ident(&column.name)
                )
            }
            _ => self.add_column(random, place),
        }
    }

    fn rename_column(&mut self, random: &mut StdRng, place: usize) -> String {
        let new = self.fresh("renamed");
        let table = &mut self.tables[place];
        if table.columns.is_empty() {
            return no_change(table);
        }
        let column = random.random_range(0..table.columns.len());
        let sql = format!(
            "ALTER TABLE {} RENAME COLUMN {} TO {}",
            table.quoted(),
            ident(&table.columns[column].name),
            ident(&new)
        );
        table.columns[column].name = new;
        sql
    }

    fn change_type(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &mut self.tables[place];
        let quoted = table.quoted();
        let (Some(column), false) = (table.free(random), table.stiff) else {
            return self.add_column(random, place);
        };
        let column = &mut table.columns[column];
        let name = ident(&column.name);
        let (to, using) = match column.kind {
            Kind::Small => (Kind::Int, ""),
            Kind::Int => *[
                (Kind::Money, ""),
                (Kind::Big, ""),
                (Kind::Text, " USING $::text || '!'"),
                (Kind::Bool, " USING $ > 5"),
                (Kind::Text, ""),
            ]
            .choose(random)
            .unwrap_or(&(Kind::Big, "")),
            Kind::Big => (Kind::Text, " USING $::text"),
            Kind::Money => *[(Kind::Int, " USING round($)::integer"), (Kind::Int, "")]
                .choose(random)
                .unwrap_or(&(Kind::Number, "")),
            Kind::Number => (Kind::Money, ""),
            Kind::Double => (Kind::Number, ""),
            Kind::Plain => (Kind::Text, ""),
            Kind::Text => *[
                (Kind::Plain, ""),
                (Kind::Varchar(24), " USING left($, 24)"),
                (Kind::Varchar(24), ""),
            ]
            .choose(random)
            .unwrap_or(&(Kind::Text, "")),
            Kind::Varchar(6) => *[(Kind::Varchar(24), ""), (Kind::Text, " USING $ || ' '")]
                .choose(random)
                .unwrap_or(&(Kind::Text, "")),
            Kind::Varchar(_) | Kind::Char => (Kind::Text, ""),
            Kind::Bool => (Kind::Int, " USING CASE WHEN $ THEN 1 ELSE 0 END"),
            Kind::Date => (Kind::Stamp, ""),
            Kind::Stamp => (Kind::Date, " USING $::date"),
            Kind::Zoned => (Kind::Text, " USING ($ > '2020-06-01 00:00+00')::text"),
            Kind::Json | Kind::Mood | Kind::Uuid | Kind::Bits => (Kind::Text, " USING $::text"),
            Kind::Ints => (Kind::Int, " USING $[1]"),
            Kind::Positive => (Kind::Int, ""),
        };
        column.kind = to;
        format!(
            "ALTER TABLE {quoted} ALTER COLUMN {name} TYPE {}{}",
            to.sql(),
            using.replace('$', &name)
        )
    }

    fn change_null(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &mut self.tables[place];
        let quoted = table.quoted();
        let Some(column) = table.free(random) else {
            return no_change(table);
        };
        let column = &mut table.columns[column];
        let name = ident(&column.name);
        if column.not_null {
            column.not_null = false;
            return format!("ALTER TABLE {quoted} ALTER COLUMN {name} DROP NOT NULL");
        }
        column.not_null = true;
        format!(
            "UPDATE {quoted} SET {name} = {} WHERE {name} IS NULL;\n\
             ALTER TABLE {quoted} ALTER COLUMN {name} SET NOT NULL",
            constant(random, column.kind)
        )
    }

    fn change_default(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let Some(column) = table.plain(random) else {
            return no_change(table);
        };
        let action = if random.random_bool(0.3) {
            "DROP DEFAULT".to_owned()
        } else {
            format!("SET DEFAULT {}", constant(random, column.kind))
        };
        format!(
            "ALTER TABLE {} ALTER COLUMN {} {action}",
            table.quoted(),
            ident(&column.name)
        )
    }

    fn create_index(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = self.fresh("new idx");
        let table = &mut self.tables[place];
        let Some(column) = table.columns.choose(random) else {
            return no_change(table);
        };
        let (quoted, column, name) = (table.quoted(), ident(&column.name), ident(&name));
        if random.random_bool(0.2) {
            return format!("CREATE INDEX ON {quoted} ({column})");
        }
        let unique = if table.key.is_id() { "UNIQUE " } else { "" };
        table.indexes.push(name.clone());
        match random.random_range(0..4) {
            0 => format!("CREATE {unique}INDEX {name} ON {quoted} ({column}, id)"),
            1 => format!("CREATE INDEX {name} ON {quoted} ({column}) WHERE {column} IS NOT NULL"),
            2 => format!("CREATE INDEX {name} ON {quoted} ((id + 1), {column} DESC)"),
            _ => format!("CREATE INDEX {name} ON {quoted} ({column})"),
        }
    }

    fn add_constraint(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = ident(&self.fresh("check"));
        let table = &mut self.tables[place];
        let quoted = table.quoted();
        let column = table.columns.choose(random);
        let column = column.map_or_else(|| "id".to_owned(), |c| ident(&c.name));
        table.constraints.push(name.clone());
        let what = match random.random_range(0..4) {
            0 if table.key.is_id() => format!("UNIQUE (id, {column})"),
            1 => format!("CHECK ({column} IS NOT NULL OR id > 0)"),
            2 => "CHECK (id > -5) NOT VALID".to_owned(),
            _ => "CHECK (id IS NULL OR id > -5)".to_owned(),
        };
        format!("ALTER TABLE {quoted} ADD CONSTRAINT {name} {what}")
    }

    fn add_key(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = self.fresh("to");
        let targets: Vec<usize> = (0..self.tables.len())
            .filter(|t| self.tables[*t].key.is_id())
            .collect();
        let Some(target) = targets.choose(random).copied() else {
            return self.add_column(random, place);
        };
        let (quoted, other) = (self.tables[place].quoted(), self.tables[target].quoted());
        let column = ident(&name);
        let mut made = self.new_column(random);
        made.name = name;
        (made.kind, made.not_null) = (Kind::Int, false);
        (made.references, made.fixed) = (Some(target), true);
        self.tables[place].columns.push(made);
        match random.random_range(0..3) {
            0 => format!("ALTER TABLE {quoted} ADD COLUMN {column} integer REFERENCES {other}"),
            1 => format!(
                "ALTER TABLE {quoted} ADD COLUMN {column} integer;\n\
                 UPDATE {quoted} AS t SET {column} = p.id FROM {other} AS p WHERE p.id = t.id;\n\
                 ALTER TABLE {quoted} ADD CONSTRAINT {} FOREIGN KEY ({column}) REFERENCES {other} (id) \
                 ON DELETE SET NULL",
                ident(&format!("{column} key"))
            ),
            _ => format!(
                "ALTER TABLE {quoted} ADD COLUMN {column} integer;\n\
                 ALTER TABLE {quoted} ADD FOREIGN KEY ({column}) REFERENCES {other}"
            ),
        }
    }

    fn drop_something(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &mut self.tables[place];
        let quoted = table.quoted();
        if let Some(index) = table.indexes.pop() {
            return format!("DROP INDEX {index}");
        }
        if let Some(constraint) = table.constraints.pop() {
            return format!("ALTER TABLE {quoted} DROP CONSTRAINT {constraint}");
        }
        self.change_default(random, place)
    }

    fn set_something(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let quoted = table.quoted();
        let column = table.columns.choose(random);
        let column = column.map_or_else(|| "id".to_owned(), |c| ident(&c.name));
        match random.random_range(0..5) {
            0 => format!("ALTER TABLE {quoted} ALTER COLUMN {column} SET STATISTICS 77"),
            1 => format!("COMMENT ON COLUMN {quoted}.{column} IS 'commented by the pack'"),
            2 => format!("GRANT SELECT ({column}) ON {quoted} TO PUBLIC"),
            3 => format!("ALTER TABLE {quoted} SET (fillfactor = 80)"),
            _ => format!("COMMENT ON TABLE {quoted} IS 'commented by the pack'"),
        }
    }

    /// A statement about the table that no pass takes in.
    fn look_at(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = ident(&self.fresh("seen"));
        let table = &mut self.tables[place];
        let quoted = table.quoted();
        match random.random_range(0..3) {
            0 => {
                table.stiff = true;
                format!("CREATE VIEW {name} AS SELECT * FROM {quoted}")
            }
            1 => format!("CREATE TABLE {name} AS SELECT * FROM {quoted}"),
            _ => {
                table.stiff = true;
                format!(
                    "CREATE TRIGGER {name} BEFORE INSERT ON {quoted} FOR EACH ROW EXECUTE FUNCTION \
                     on_insert()"
                )
            }
        }
    }
}
