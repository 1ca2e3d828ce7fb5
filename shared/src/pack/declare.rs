//! Reads what a pack and its modules declare: `pack.toml`, `module.toml`, `__manifest__.py`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{
    InstalledSource, Location, Version, directive,
    document::{self, Placed, Reader},
    manifest,
    series::Scheme,
    source::{Findings, Source},
    statement,
    typed::{self, Defaults},
};
use crate::suggest::suggestion;

/// What `pack.toml` says.
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) target_version: Option<Version>,
    pub(super) installed: Option<InstalledSource>,
    pub(super) scheme: Scheme,
    pub(super) defaults: Defaults,
}

/// What a module says about itself.
pub(super) struct DeclaredModule {
    pub(super) version: Version,
    pub(super) depends: Vec<String>,
    pub(super) renamed_from: Vec<String>,
    pub(super) merged: Vec<String>,
    pub(super) location: Location,
}

/// Reads `pack.toml`.
pub(super) fn pack(source: &Source, findings: &mut Findings) -> Option<Declared> {
    let document = document::parse(source, findings)?;
    let mut reader = Reader::new(source, document.get_ref(), "pack.toml", 0);
    let name = reader.needed_text("name", findings);
    let target = reader.text("target_version", findings);
    let versions = reader.text("versions", findings);
    reader.text("description", findings);
    let installed = reader
        .table("installed", "[installed]", findings)
        .and_then(|table| installed(source, table, findings));
    let mut defaults = Defaults::default();
    if let Some(mut table) = reader.table("defaults", "[defaults]", findings) {
        if let Some((text, at)) = table.text("exec_timeout", findings) {
            match typed::duration(text) {
                Ok(timeout) => defaults.exec_timeout = timeout,
                Err(why) => findings.complain(source, at, why),
            }
        }
        table.finish(findings);
    }
    reader.finish(findings);

    let target_version = target.and_then(|(text, at)| version(source, text, at, findings));
    let scheme = match versions {
        None => Scheme::of_target(target_version.as_ref()),
        Some(("plain", _)) => Scheme::Plain,
        Some(("odoo", at)) => {
            let series = target_version.clone().filter(|v| v.parts().len() == 2);
            series.map_or_else(
                || {
                    findings.complain(
                        source,
                        at,
                        "versions = \"odoo\" needs a series as target_version, such as \"18.0\"",
                    );
                    Scheme::Plain
                },
                Scheme::Odoo,
            )
        }
        Some((other, at)) => {
            let hint = suggestion(other, &["plain", "odoo"]);
            findings.complain(
                source,
                at,
                format!("\"{other}\" is not a value of versions{hint}"),
            );
            Scheme::Plain
        }
    };
    let (name, at) = name?;
    if name.trim().is_empty() {
        findings.complain(source, at, "the pack's name is empty: write one");
    }
    Some(Declared {
        name: name.to_owned(),
        target_version,
        installed,
        scheme,
        defaults,
    })
}

fn installed(
    source: &Source,
    mut reader: Reader<'_>,
    findings: &mut Findings,
) -> Option<InstalledSource> {
    let start = reader.at;
    let table = reader.text("table", findings);
    let query = reader.text("query", findings);
    reader.finish(findings);
    match (table, query) {
        (Some((table, at)), None) => {
            if directive::names(table).is_none_or(|names| names.len() > 2) {
                findings.complain(
                    source,
                    at,
                    format!("\"{table}\" is not a table's name: write table or schema.table"),
                );
            }
            Some(InstalledSource::Table(table.to_owned()))
        }
        (None, Some((query, at))) => {
            if let Err(why) = statement::check_query(query) {
                findings.complain(source, at, format!("in query: {why}"));
            }
            Some(InstalledSource::Query(query.to_owned()))
        }
        (None, None) => {
            findings.complain(
                source,
                start,
                "[installed] needs table = \"…\" or query = \"…\"",
            );
            None
        }
        (Some(_), Some((_, at))) => {
            findings.complain(
                source,
                at,
                "[installed] takes table or query, not both: remove one",
            );
            None
        }
    }
}

fn version(source: &Source, text: &str, at: usize, findings: &mut Findings) -> Option<Version> {
    text.parse()
        .map_err(|why: String| findings.complain(source, at, why))
        .ok()
}

/// Reads what declares a module: `module.toml`, `__manifest__.py`, or both (then what `module.toml`
/// says counts). The outer `None`: it cannot be read; the inner: it is not installable.
pub(super) fn module(
    root: &Path,
    name: &str,
    files: [Option<PathBuf>; 2],
    scheme: &Scheme,
    findings: &mut Findings,
) -> Option<Option<DeclaredModule>> {
    let [own, odoo] = files;
    let own = match own {
        Some(path) => Some(Source::read(root, &path, findings)?),
        None => None,
    };
    let odoo = match odoo {
        Some(path) => Some(Source::read(root, &path, findings)?),
        None => None,
    };
    let manifest = match &odoo {
        Some(source) => Some(manifest::read(source, findings)?),
        None => None,
    };
    if manifest.as_ref().is_some_and(|m| !m.installable) {
        return Some(None);
    }
    let toml = match &own {
        Some(source) => Some(module_toml(source, name, odoo.is_none(), findings)?),
        None => None,
    };
    let primary = own.as_ref().or(odoo.as_ref())?;
    let mut declared = DeclaredModule {
        version: Version::default(),
        depends: Vec::new(),
        renamed_from: Vec::new(),
        merged: Vec::new(),
        location: primary.location(0),
    };
    if let (Some(manifest), Some(source)) = (manifest, &odoo) {
        // Odoo's own default version is 1.0.
        let (text, at) = manifest.version.unwrap_or_else(|| ("1.0".into(), 0));
        declared.version = own_version(source, scheme, &text, at, findings)?;
        let depends = manifest.depends;
        declared.depends = distinct(source, name, "depends on", depends, findings);
    }
    if let (Some(toml), Some(source)) = (toml, &own) {
        if let Some((text, at)) = toml.version {
            declared.version = own_version(source, scheme, &text, at, findings)?;
        }
        if let Some(depends) = toml.depends {
            declared.depends = distinct(source, name, "depends on", depends, findings);
        }
        declared.renamed_from =
            distinct(source, name, "is renamed from", toml.renamed_from, findings);
        declared.merged = distinct(source, name, "is merged with", toml.merged, findings);
    }
    Some(Some(declared))
}

struct ModuleToml {
    version: Option<Placed<String>>,
    depends: Option<Vec<Placed<String>>>,
    renamed_from: Vec<Placed<String>>,
    merged: Vec<Placed<String>>,
}

fn module_toml(
    source: &Source,
    folder: &str,
    alone: bool,
    findings: &mut Findings,
) -> Option<ModuleToml> {
    let document = document::parse(source, findings)?;
    let mut reader = Reader::new(source, document.get_ref(), "module.toml", 0);
    if let Some((name, at)) = reader.text("name", findings)
        && name != folder
    {
        findings.complain(
            source,
            at,
            format!("the module's name is that of its folder, {folder}, and not {name}: change one of them"),
        );
    }
    let version = if alone {
        reader.needed_text("version", findings)
    } else {
        reader.text("version", findings)
    };
    reader.text("description", findings);
    let mut list = |key| {
        reader.texts(key, findings).map(|(items, _)| {
            items
                .into_iter()
                .map(|(item, at)| (item.to_owned(), at))
                .collect::<Vec<_>>()
        })
    };
    let depends = list("depends");
    let renamed_from = list("renamed_from").unwrap_or_default();
    let merged = list("merged").unwrap_or_default();
    reader.finish(findings);
    if alone && version.is_none() {
        return None;
    }
    Some(ModuleToml {
        version: version.map(|(text, at)| (text.to_owned(), at)),
        depends,
        renamed_from,
        merged,
    })
}

fn own_version(
    source: &Source,
    scheme: &Scheme,
    text: &str,
    at: usize,
    findings: &mut Findings,
) -> Option<Version> {
    scheme
        .module(text)
        .map_err(|why| findings.complain(source, at, why))
        .ok()
}

/// Names without the module itself and without a name that is there twice: both are complaints.
fn distinct(
    source: &Source,
    module: &str,
    relation: &str,
    names: Vec<Placed<String>>,
    findings: &mut Findings,
) -> Vec<String> {
    let mut seen = BTreeSet::new();
    names
        .into_iter()
        .filter_map(|(name, at)| {
            let message = if name == module {
                format!("{module} {relation} itself: remove it from the list")
            } else if name.trim().is_empty() {
                "an empty name: write a module's, or remove it".to_owned()
            } else if !seen.insert(name.clone()) {
                format!("{name} is in this list twice: keep one")
            } else {
                return Some(name);
            };
            findings.complain(source, at, message);
            None
        })
        .collect()
}
