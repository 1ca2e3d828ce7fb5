//! Random DDL over the generator's world; the world follows.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};
use upshift_shared::pg::ident::ident;

use super::schema::{Kind, World};

impl World {
    /// A change of the schema.
    pub(super) fn change(&mut self, random: &mut StdRng) -> String {
        let table = self.any_table(random);
        match random.random_range(0..16) {
            0..=2 => self.add_column(random, table),
            3 | 4 => self.drop_column(random, table),
            5 | 6 => self.rename_column(random, table),
            7 => self.rename_table(table),
            8 | 9 => self.change_type(random, table),
            10 => self.change_null(random, table),
            11 => self.change_default(random, table),
            12 => self.add_check(random, table),
            13 => self.add_index(random, table),
            14 => self.add_view_and_drop(random, table),
            _ => self.create_table_as(random, table),
        }
    }

    fn add_column(&mut self, random: &mut StdRng, place: usize) -> String {
        let mut column = self.new_column(random);
        let constant = column.kind.constant(random);
        // An empty NOT NULL column without a default would fail on every table with rows.
        let default = if column.not_null || random.random_bool(0.3) {
            format!(" DEFAULT {constant}")
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
        column.references = None;
        self.tables[place].columns.push(column);
        sql
    }

    fn drop_column(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &mut self.tables[place];
        if table.columns.len() < 2 {
            return self.add_column(random, place);
        }
        let column = random.random_range(0..table.columns.len());
        let column = table.columns.remove(column);
        format!(
            "ALTER TABLE {} DROP COLUMN {}",
            table.quoted(),
            ident(&column.name)
        )
    }

    fn rename_column(&mut self, random: &mut StdRng, place: usize) -> String {
        let new = self.fresh("renamed");
        let table = &mut self.tables[place];
        let Some(column) = table.plain_column(random) else {
            return format!("COMMENT ON TABLE {} IS 'nothing to rename'", table.quoted());
        };
        let sql = format!(
            "ALTER TABLE {} RENAME COLUMN {} TO {}",
            table.quoted(),
            ident(&table.columns[column].name),
            ident(&new)
        );
        table.columns[column].name = new;
        sql
    }

    fn rename_table(&mut self, place: usize) -> String {
        let new = self.fresh("moved");
        let table = &mut self.tables[place];
        let sql = format!("ALTER TABLE {} RENAME TO {}", table.quoted(), ident(&new));
        table.name = new;
        sql
    }

    fn change_type(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &mut self.tables[place];
        let Some(column) = table.plain_column(random) else {
            return format!("COMMENT ON TABLE {} IS 'nothing to retype'", table.quoted());
        };
        let from = table.columns[column].kind;
        let (to, using) = match from {
            Kind::Integer => (Kind::Numeric, ""),
            Kind::Varchar => (Kind::Text, ""),
            Kind::Text => (Kind::Varchar, " USING left($, 24)"),
            Kind::Numeric => (Kind::Integer, " USING round($)::integer"),
            Kind::Double => (Kind::Numeric, ""),
            Kind::Boolean => (Kind::Integer, " USING $::integer"),
            Kind::Date => (Kind::Text, ""),
        };
        let name = ident(&table.columns[column].name);
        table.columns[column].kind = to;
        format!(
            "ALTER TABLE {} ALTER COLUMN {name} TYPE {}{}",
            table.quoted(),
            to.sql(),
            using.replace('$', &name)
        )
    }

    fn change_null(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &mut self.tables[place];
        let Some(column) = table.plain_column(random) else {
            return format!("COMMENT ON TABLE {} IS 'no column'", table.quoted());
        };
        let table_name = table.quoted();
        let column = &mut table.columns[column];
        let name = ident(&column.name);
        if column.not_null {
            column.not_null = false;
            return format!("ALTER TABLE {table_name} ALTER COLUMN {name} DROP NOT NULL");
        }
        column.not_null = true;
        let constant = column.kind.constant(random);
        format!(
            "UPDATE {table_name} SET {name} = {constant} WHERE {name} IS NULL;\n\
             ALTER TABLE {table_name} ALTER COLUMN {name} SET NOT NULL"
        )
    }

    fn change_default(&mut self, random: &mut StdRng, place: usize) -> String {
        let table = &self.tables[place];
        let Some(column) = table.plain_column(random) else {
            return format!("COMMENT ON TABLE {} IS 'no default'", table.quoted());
        };
        let column = &table.columns[column];
        let action = if random.random_bool(0.3) {
            "DROP DEFAULT".to_owned()
        } else {
            format!("SET DEFAULT {}", column.kind.constant(random))
        };
        format!(
            "ALTER TABLE {} ALTER COLUMN {} {action}",
            table.quoted(),
            ident(&column.name)
        )
    }

    fn add_check(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = self.fresh("check");
        let table = &self.tables[place];
        let condition = match table.column_of(random, Kind::Integer) {
            Some(column) => format!("{} > -100000", ident(&column.name)),
            None => "id >= 0".to_owned(),
        };
        let valid = ["", " NOT VALID"].choose(random).unwrap_or(&"");
        format!(
            "ALTER TABLE {} ADD CONSTRAINT {} CHECK ({condition}){valid}",
            table.quoted(),
            ident(&name)
        )
    }

    fn add_index(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = self.fresh("new idx");
        let table = &self.tables[place];
        let Some(column) = table.plain_column(random) else {
            return format!("COMMENT ON TABLE {} IS 'no index'", table.quoted());
        };
        format!(
            "CREATE INDEX {} ON {} ({}, id)",
            ident(&name),
            table.quoted(),
            ident(&table.columns[column].name)
        )
    }

    /// Both at once, so that no later DROP COLUMN stumbles over the view.
    fn add_view_and_drop(&mut self, random: &mut StdRng, place: usize) -> String {
        let view = ident(&self.fresh("view"));
        let table = &self.tables[place];
        let drop = if random.random_bool(0.7) {
            format!(";\nDROP VIEW {view}")
        } else {
            String::new()
        };
        format!(
            "CREATE VIEW {view} AS SELECT id FROM {}{drop}",
            table.quoted()
        )
    }

    fn create_table_as(&mut self, random: &mut StdRng, place: usize) -> String {
        let name = ident(&self.fresh("derived"));
        let table = &self.tables[place];
        let mut sql = format!(
            "CREATE TABLE {name} AS SELECT * FROM {} WHERE id % 2 = 0",
            table.quoted()
        );
        if random.random_bool(0.4) {
            sql += &format!(";\nDROP TABLE {name}");
        }
        sql
    }
}
