//! Random schemas, data and packs from a seed: the same seed makes the same case. Statements are such
//! as people write; most of them succeed, some fail for their data, and both runs have to agree on it.

mod change;
mod pass;
mod schema;
mod statement;

use std::{fs, path::Path};

use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use schema::World;

/// One random case.
#[derive(Debug, Clone)]
pub struct Case {
    /// What makes it again.
    pub seed: u64,
    /// Makes and fills the tables.
    pub database: String,
    /// Path and content of each script, in the order in which `psql` runs them.
    pub scripts: Vec<(String, String)>,
    /// Path and content of the pack's other files.
    pub declarations: Vec<(String, String)>,
}

impl Case {
    /// Makes the case of a seed.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
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
            for phase in ["pre", "post"] {
                let steps = random.random_range(1..=5);
                let text: Vec<String> = (0..steps).map(|_| world.step(&mut random)).collect();
                scripts.push((
                    format!("m{module}/migrations/2.0/{phase}-work.sql"),
                    format!("{};\n", text.join(";\n")),
                ));
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

    /// Writes the pack to a folder.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (path, content) in self.scripts.iter().chain(&self.declarations) {
            let file = folder.join(path);
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(file, content)?;
        }
        Ok(())
    }

    /// The whole case as one reads it.
    #[must_use]
    pub fn describe(&self) -> String {
        let scripts: Vec<String> = self
            .scripts
            .iter()
            .map(|(path, text)| format!("-- {path}\n{text}"))
            .collect();
        format!(
            "-- seed {}\n{}\n{}",
            self.seed,
            self.database,
            scripts.join("\n")
        )
    }
}

impl World {
    /// One statement, which may change the world that later ones see.
    fn step(&mut self, random: &mut StdRng) -> String {
        if random.random_bool(0.4) {
            self.change(random)
        } else {
            self.statement(random)
        }
    }
}
