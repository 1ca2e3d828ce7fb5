//! Reads a pack from its folder. Everything that is wrong with it is found in one go.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    Complaint, Location, Migration, Module, Pack, Phase, Script,
    declare::{self, Declared},
    script,
    series::Scheme,
    source::{Findings, Source},
    typed,
};
use crate::error::{Error, Result};

/// Reads a pack.
///
/// # Errors
/// [`Error::Pack`] with every complaint, by place.
pub fn load(root: &Path) -> Result<Pack> {
    load_with_remarks(root).map(|(pack, _)| pack)
}

/// Reads a pack, and says what a reader should know about it although it can be used.
///
/// # Errors
/// [`Error::Pack`] with every complaint, by place.
pub fn load_with_remarks(root: &Path) -> Result<(Pack, Vec<Complaint>)> {
    let mut findings = Findings::default();
    let pack = read(root, &mut findings);
    let Findings {
        mut complaints,
        mut remarks,
    } = findings;
    complaints.sort_by(|a, b| a.location.cmp(&b.location));
    remarks.sort_by(|a, b| a.location.cmp(&b.location));
    match pack {
        Some(pack) if complaints.is_empty() => Ok((pack, remarks)),
        _ => Err(Error::Pack(complaints)),
    }
}

fn read(root: &Path, findings: &mut Findings) -> Option<Pack> {
    let file = Path::new("pack.toml");
    let canonical = match root.canonicalize() {
        Ok(canonical) if canonical.is_dir() => canonical,
        Ok(_) => {
            findings.complain_whole(
                root,
                "this is not a folder: a pack is a folder with a pack.toml",
            );
            return None;
        }
        Err(e) => {
            findings.complain_whole(root, format!("this folder cannot be read: {e}"));
            return None;
        }
    };
    let walk = Walk { root: canonical };
    if !walk.root.join(file).is_file() {
        findings.complain_whole(
            file,
            "there is no pack.toml: a pack is a folder with a pack.toml, which says name = \"…\"",
        );
        return None;
    }
    let source = Source::read(&walk.root, file, findings)?;
    let declared = declare::pack(&source, findings);
    let unnamed = declared.is_none();
    // Without a readable pack.toml the modules are read all the same, for their complaints.
    let declared = declared.unwrap_or_else(|| Declared {
        name: String::new(),
        target_version: None,
        installed: None,
        scheme: Scheme::Plain,
        defaults: typed::Defaults::default(),
    });
    let mut modules = BTreeMap::new();
    for entry in walk.entries(Path::new(""), findings) {
        if entry.folder
            && let Some(module) = walk.module(&entry, &declared, findings)
        {
            modules.insert(entry.name, module);
        }
    }
    repeated_checkpoints(&modules, findings);
    (!unnamed).then(|| Pack {
        name: declared.name,
        target_version: declared.target_version,
        installed: declared.installed,
        modules,
        root: root.to_owned(),
    })
}

/// Checkpoints are told apart by their names, and those at the end of modules have the modules' names.
fn repeated_checkpoints(modules: &BTreeMap<String, Module>, findings: &mut Findings) {
    let mut seen: BTreeMap<&str, Option<&Location>> =
        modules.keys().map(|name| (name.as_str(), None)).collect();
    let migrations = modules.values().flat_map(|module| &module.migrations);
    let scripts = migrations.flat_map(|migration| &migration.scripts);
    for step in scripts.flat_map(|script| &script.steps) {
        let Some(name) = step.directives.checkpoint.as_deref() else {
            continue;
        };
        let message = match seen.insert(name, Some(&step.location)) {
            None => continue,
            Some(None) => format!(
                "the checkpoint at the end of module {name} is called \"{name}\": choose another name"
            ),
            Some(Some(first)) => {
                format!("checkpoint \"{name}\" is also at {first}: choose another name")
            }
        };
        findings.complaints.push(Complaint {
            location: step.location.clone(),
            message,
            source_line: String::new(),
        });
    }
}

/// A file or folder.
struct Entry {
    name: String,
    /// Relative to the pack's root.
    path: PathBuf,
    folder: bool,
}

/// Walks the folder of a pack.
struct Walk {
    /// Canonical.
    root: PathBuf,
}

impl Walk {
    /// What is in a folder, by name; hidden entries left out. Links that lead out of the pack, and
    /// what is neither file nor folder, are complaints.
    fn entries(&self, folder: &Path, findings: &mut Findings) -> Vec<Entry> {
        let listed = fs::read_dir(self.root.join(folder))
            .and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
        let listed = match listed {
            Ok(listed) => listed,
            Err(e) => {
                findings.complain_whole(folder, format!("this folder cannot be read: {e}"));
                return Vec::new();
            }
        };
        let mut entries = Vec::with_capacity(listed.len());
        for entry in listed {
            let path = folder.join(entry.file_name());
            let Ok(name) = entry.file_name().into_string() else {
                findings.complain_whole(
                    Path::new(&*path.to_string_lossy()),
                    "this file's name is not UTF-8: rename it",
                );
                continue;
            };
            if name.starts_with('.') || name == "__pycache__" {
                continue;
            }
            if let Some(folder) = self.kind(&path, findings) {
                entries.push(Entry { name, path, folder });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        entries
    }

    /// Whether a path is a folder, links followed; `None` and a complaint where it cannot be read.
    fn kind(&self, path: &Path, findings: &mut Findings) -> Option<bool> {
        let full = self.root.join(path);
        let linked = fs::symlink_metadata(&full).is_ok_and(|m| m.file_type().is_symlink());
        if linked {
            match full.canonicalize() {
                Ok(target) if target.starts_with(&self.root) => {}
                Ok(_) => {
                    findings.complain_whole(
                        path,
                        "this link leads out of the pack: copy what it points to",
                    );
                    return None;
                }
                Err(e) => {
                    findings.complain_whole(path, format!("this link leads nowhere: {e}"));
                    return None;
                }
            }
        }
        match fs::metadata(&full) {
            Ok(metadata) if metadata.is_dir() => Some(true),
            Ok(metadata) if metadata.is_file() => Some(false),
            Ok(_) => {
                findings.complain_whole(path, "this is neither a file nor a folder: remove it");
                None
            }
            Err(e) => {
                findings.complain_whole(path, format!("this cannot be read: {e}"));
                None
            }
        }
    }

    fn module(
        &self,
        folder: &Entry,
        declared: &Declared,
        findings: &mut Findings,
    ) -> Option<Module> {
        let entries = self.entries(&folder.path, findings);
        let file = |name: &str| {
            entries
                .iter()
                .find(|entry| entry.name == name && !entry.folder)
                .map(|entry| entry.path.clone())
        };
        let subfolder = |name: &str| {
            entries
                .iter()
                .find(|entry| entry.name == name && entry.folder)
        };
        let (own, odoo) = (file("module.toml"), file("__manifest__.py"));
        let migrations = subfolder("migrations");
        if own.is_none() && odoo.is_none() {
            if migrations.is_some() {
                findings.complain_whole(
                    &folder.path,
                    "this folder has migrations and no module.toml: write one with version = \"…\"",
                );
            }
            return None;
        }
        if let Some(upgrades) = subfolder("upgrades") {
            findings.complain_whole(
                &upgrades.path,
                "scripts are read from migrations/ only: move them there",
            );
        }
        let (name, scheme) = (&folder.name, &declared.scheme);
        let module = declare::module(&self.root, name, [own, odoo], scheme, findings);
        // A module that cannot be read, or is not installable, has no version to compare with.
        let version = module.as_ref().and_then(|m| m.as_ref()).map(|m| &m.version);
        let migrations = match (migrations, &module) {
            (_, Some(None)) | (None, _) => Vec::new(),
            (Some(folder), _) => self.migrations(folder, version, declared, findings),
        };
        let module = module??;
        Some(Module {
            name: name.clone(),
            version: module.version,
            depends: module.depends,
            renamed_from: module.renamed_from,
            merged: module.merged,
            migrations,
            location: module.location,
        })
    }

    fn migrations(
        &self,
        folder: &Entry,
        target: Option<&super::Version>,
        declared: &Declared,
        findings: &mut Findings,
    ) -> Vec<Migration> {
        let mut migrations: Vec<Migration> = Vec::new();
        for entry in self.entries(&folder.path, findings) {
            if !entry.folder {
                if Phase::of_file(&entry.name).is_some() || has_extension(&entry.name, "sql") {
                    findings.complain_whole(
                        &entry.path,
                        "a script lies in the folder of the version that it leads to: move it to migrations/<version>/",
                    );
                }
                continue;
            }
            if entry.name == "tests" {
                continue;
            }
            let (version, short) = match declared.scheme.folder(&entry.name) {
                Ok(found) => found,
                Err(why) => {
                    findings.complain_whole(&entry.path, why);
                    continue;
                }
            };
            let above = target.is_some_and(|target| {
                if short {
                    version.own_cmp(target).is_gt()
                } else {
                    version > *target
                }
            });
            if let (true, Some(target)) = (above, target) {
                findings.complain_whole(
                    &entry.path,
                    format!("version {version} is above the module's version {target}, so it would never run: raise the module's version, or rename the folder"),
                );
            }
            if let Some(same) = migrations.iter().find(|m| m.version == version) {
                findings.complain_whole(
                    &entry.path,
                    format!(
                        "version {} has another folder, {}: put both in one",
                        version, same.version
                    ),
                );
            }
            migrations.push(Migration {
                version,
                short,
                scripts: self.scripts(&entry, declared, findings),
            });
        }
        migrations.sort_by(|a, b| a.version.cmp(&b.version));
        migrations
    }

    fn scripts(&self, folder: &Entry, declared: &Declared, findings: &mut Findings) -> Vec<Script> {
        let mut scripts: Vec<Script> = Vec::new();
        for entry in self.entries(&folder.path, findings) {
            if let Some(why) = unwanted(&entry) {
                findings.complain_whole(&entry.path, why);
                continue;
            }
            let Some(phase) = Phase::of_file(&entry.name) else {
                continue;
            };
            let Some(source) = Source::read(&self.root, &entry.path, findings) else {
                continue;
            };
            let steps = if has_extension(&entry.name, "sql") {
                script::steps(&source, findings)
            } else {
                typed::steps(&self.root, &source, declared.defaults, findings)
            };
            scripts.push(Script {
                file: entry.path,
                phase,
                steps,
            });
        }
        // Entries come by name; the sort is stable.
        scripts.sort_by_key(|script| script.phase);
        scripts
    }
}

/// Why something in a version's folder is not a script that can run; `None` for scripts, and for what
/// nobody would take for one.
fn unwanted(entry: &Entry) -> Option<String> {
    let phase = Phase::of_file(&entry.name);
    let script = has_extension(&entry.name, "sql") || has_extension(&entry.name, "toml");
    let why = if entry.folder {
        "a version's folder holds scripts only: move its files up, or remove it"
    } else if has_extension(&entry.name, "py") {
        "Upshift does not run Python: write SQL, or start a program from an [[exec]] step of a .toml file"
    } else if phase.is_some() && !script {
        "a script ends in .sql or .toml: rename it"
    } else if phase.is_none() && script {
        "a script's name begins with pre-, post- or end-: rename it"
    } else {
        return None;
    };
    Some(why.to_owned())
}

fn has_extension(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|e| e == extension)
}

impl Phase {
    /// The phase that a script's name begins with.
    fn of_file(name: &str) -> Option<Self> {
        [Self::Pre, Self::Post, Self::End]
            .into_iter()
            .find(|phase| {
                name.strip_prefix(&phase.to_string())
                    .is_some_and(|rest| rest.starts_with('-'))
            })
    }
}
