//! The demo's pack, embedded: about a dozen modules over two versions, with the shapes that real
//! upgrades have.

use std::{fs, path::Path};

use upshift_shared::{Error, Result};

/// Declares the pack's files by their paths below `pack/`.
macro_rules! files {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("pack/", $path)))),*]
    };
}

/// Path and content of each file.
const FILES: &[(&str, &str)] = files![
    "account/migrations/2.0/post-10-payments.sql",
    "account/migrations/2.0/pre-10-moves.sql",
    "account/migrations/2.0/pre-20-lines.sql",
    "account/migrations/3.0/post-90-checks.toml",
    "account/migrations/3.0/pre-10-states.sql",
    "account/migrations/3.0/pre-20-lines.sql",
    "account/module.toml",
    "account_followup/migrations/2.0/pre-10-levels.sql",
    "account_followup/module.toml",
    "base/migrations/2.0/post-10-attachments.sql",
    "base/migrations/2.0/pre-10-languages.sql",
    "base/migrations/3.0/end-99-versions.sql",
    "base/migrations/3.0/post-90-checks.toml",
    "base/migrations/3.0/pre-10-countries.sql",
    "base/module.toml",
    "contacts/migrations/2.0/pre-10-view.sql",
    "contacts/module.toml",
    "crm/migrations/2.0/pre-10-teams.sql",
    "crm/migrations/3.0/post-10-scoring.sql",
    "crm/module.toml",
    "mail/migrations/2.0/pre-10-tracking.sql",
    "mail/migrations/2.0/pre-20-messages.sql",
    "mail/migrations/3.0/post-10-followers.sql",
    "mail/migrations/3.0/pre-10-notifications.sql",
    "mail/module.toml",
    "pack.toml",
    "partner/migrations/2.0/pre-10-partners.sql",
    "partner/migrations/2.0/pre-20-names.sql",
    "partner/migrations/3.0/post-10-categories.sql",
    "partner/migrations/3.0/pre-10-cleanup.sql",
    "partner/module.toml",
    "product/migrations/2.0/pre-10-types.sql",
    "product/migrations/2.0/pre-20-variants.sql",
    "product/migrations/3.0/pre-10-units.sql",
    "product/module.toml",
    "sale/migrations/2.0/pre-10-orders.sql",
    "sale/migrations/2.0/pre-20-lines.sql",
    "sale/migrations/3.0/post-10-analytics.sql",
    "sale/migrations/3.0/pre-10-lines.sql",
    "sale/module.toml",
    "sale_stock/migrations/2.0/pre-10-lines.sql",
    "sale_stock/module.toml",
    "stock/migrations/2.0/pre-10-moves.sql",
    "stock/migrations/2.0/pre-20-lots.sql",
    "stock/migrations/3.0/post-10-groups.sql",
    "stock/migrations/3.0/pre-10-priorities.sql",
    "stock/module.toml",
    "stock_account/migrations/2.0/pre-10-valuation.sql",
    "stock_account/module.toml",
    "website/migrations/2.0/pre-10-visitors.sql",
    "website/module.toml",
];

/// Writes the pack to a folder.
///
/// # Errors
/// Where a file cannot be written.
pub fn write(folder: &Path) -> Result<()> {
    for (path, content) in FILES {
        let file = folder.join(path);
        let write = || -> std::io::Result<()> {
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&file, content)
        };
        write().map_err(|source| Error::Io {
            context: format!("writing {}", file.display()),
            source,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of the folder is embedded, and the pack reads without a complaint.
    #[test]
    fn is_whole_and_well_formed() -> Result<()> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        write(folder.path())?;
        let pack = upshift_shared::pack::load(folder.path())?;
        assert_eq!(pack.modules.len(), 13);
        let scripts: usize = pack
            .modules
            .values()
            .flat_map(|module| &module.migrations)
            .map(|migration| migration.scripts.len())
            .sum();
        let kept = FILES
            .iter()
            .filter(|(path, _)| path.contains("/migrations/"));
        assert_eq!(scripts, kept.count());
        Ok(())
    }
}
