//! A pack once more, with a directive before each of its UPDATEs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Copies a pack to a new folder with `strategy = …` before each UPDATE, and returns that folder. An
/// UPDATE is a line that begins with the word: the packs of this benchmark are written so.
pub(super) fn with_directive(pack: &Path, to: &Path, strategy: &str) -> Result<PathBuf> {
    copy(pack, to, strategy).with_context(|| format!("copying the pack to {}", to.display()))?;
    Ok(to.to_owned())
}

fn copy(from: &Path, to: &Path, strategy: &str) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&path, &target, strategy)?;
            continue;
        }
        let mut text = fs::read_to_string(&path)?;
        if path.extension().is_some_and(|extension| extension == "sql") {
            text = directed(&text, strategy);
        }
        fs::write(target, text)?;
    }
    Ok(())
}

fn directed(sql: &str, strategy: &str) -> String {
    let mut text = String::with_capacity(sql.len());
    for line in sql.split_inclusive('\n') {
        if line.starts_with("UPDATE ") {
            text.push_str(&format!("-- upshift: strategy = {strategy}\n"));
        }
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::directed;

    #[test]
    fn each_update_gets_a_directive_of_its_own() {
        let sql =
            "ALTER TABLE t ADD a int;\n\nUPDATE t\n   SET a = 1;\n-- why\nUPDATE t SET a = 2;\n";
        assert_eq!(
            directed(sql, "in_place"),
            "ALTER TABLE t ADD a int;\n\n-- upshift: strategy = in_place\nUPDATE t\n   SET a = 1;\n\
             -- why\n-- upshift: strategy = in_place\nUPDATE t SET a = 2;\n"
        );
    }
}
