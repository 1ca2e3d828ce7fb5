//! Cases for shadow passes: many statements on few tables, of every form that a pass takes in, and of
//! those that it must leave alone. The tables are there before the pack, with all that may hang on one.

mod change;
mod expression;
mod schema;
mod statement;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::Case;
use schema::World;

impl Case {
    /// Makes the case of a seed, with statements that become passes.
    #[must_use]
    pub fn for_passes(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5_8ad0);
        let mut world = World::generate(&mut random);
        let database = world.definition(&mut random);
        let modules = random.random_range(1..=3);
        let mut declarations = vec![(
            "pack.toml".to_owned(),
            "name = \"random\"\n[installed]\ntable = \"installed\"\n".to_owned(),
        )];
        let mut scripts = Vec::new();
        for module in 0..modules {
            let depends = if module == 0 {
                String::new()
            } else {
                format!("\"m{}\"", module - 1)
            };
            declarations.push((
                format!("m{module}/module.toml"),
                format!("name = \"m{module}\"\nversion = \"2.0\"\ndepends = [{depends}]\n"),
            ));
            for file in ["pre-one", "pre-two", "post-one"] {
                if random.random_bool(0.6) || scripts.is_empty() {
                    scripts.push(script(&mut world, &mut random, module, file));
                }
            }
        }
        // Scripts of this phase come after those of all modules.
        for module in 0..modules {
            if random.random_bool(0.2) {
                scripts.push(script(&mut world, &mut random, module, "end-one"));
            }
        }
        let installed: Vec<String> = (0..modules).map(|m| format!("('m{m}', '1.0')")).collect();
        let installed = format!(
            "CREATE TABLE installed (name text PRIMARY KEY, version text);\n\
             INSERT INTO installed VALUES {};\n",
            installed.join(", ")
        );
        Self {
            seed,
            database: database + &installed,
            scripts,
            declarations,
        }
    }
}

fn script(world: &mut World, random: &mut StdRng, module: u32, file: &str) -> (String, String) {
    let steps = random.random_range(1..=4);
    let text: Vec<String> = (0..steps).map(|_| world.step(random)).collect();
    (
        format!("m{module}/migrations/2.0/{file}.sql"),
        format!("{};\n", text.join(";\n")),
    )
}

impl World {
    /// One statement, mostly on the table that this case is about.
    fn step(&mut self, random: &mut StdRng) -> String {
        let place = if random.random_bool(if self.easy { 0.92 } else { 0.75 }) {
            self.hot
        } else {
            random.random_range(0..self.tables.len())
        };
        let statement = if random.random_bool(0.3) {
            self.change(random, place)
        } else {
            self.statement(random, place)
        };
        match random.random_range(0..50) {
            0 => format!("-- upshift: strategy = in_place\n{statement}"),
            1 => format!("-- upshift: strategy = shadow\n{statement}"),
            2 => format!("-- upshift: strategy = single\n{statement}"),
            _ => statement,
        }
    }
}
