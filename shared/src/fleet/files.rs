//! The files that `[[members]]` of a `fleet.toml` name: where an order travels, what they list travels in
//! it, and nobody opens a path of somebody else's machine.

use std::{collections::BTreeMap, path::Path};

use super::{FleetFile, Labels, MemberName, Members, MembersSource, parse_members_file};
use crate::{Error, Result};

impl FleetFile {
    /// Their paths.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.members
            .iter()
            .filter_map(|members| match &members.source {
                MembersSource::File { path, .. } => Some(path.as_path()),
                _ => None,
            })
    }

    /// The same order with what they list in their place; `text` has what stands in each.
    ///
    /// # Errors
    /// [`Error::Config`] for a file that `text` has not, or that cannot be understood.
    pub fn with_files<'a>(self, text: impl Fn(&Path) -> Option<&'a str>) -> Result<Self> {
        let mut members = Vec::with_capacity(self.members.len());
        for group in self.members {
            let MembersSource::File { path, server } = &group.source else {
                members.push(group);
                continue;
            };
            let text = text(path).ok_or_else(|| {
                let path = path.display();
                Error::Config(format!("{path} has not come with the order that names it"))
            })?;
            let listed = parse_members_file(text, path, server.as_deref())?;
            let mut by_labels = BTreeMap::<Labels, Vec<MemberName>>::new();
            for (name, own) in listed {
                let mut labels = group.labels.clone();
                labels.extend(own);
                by_labels.entry(labels).or_default().push(name);
            }
            members.extend(by_labels.into_iter().map(|(labels, names)| Members {
                source: MembersSource::Listed(names),
                labels,
            }));
        }
        Ok(Self { members, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_list_travels_with_the_order() {
        let text = "pack = \"p\"\n[[members]]\nfile = \"t.txt\"\nserver = \"db1\"\nlabels = { tier = \"2\" }\n\
                    [[members]]\ndatabases = [\"x\"]\n";
        let order = FleetFile::parse(text, Path::new("away/fleet.toml")).unwrap();
        let files: Vec<&Path> = order.files().collect();
        assert_eq!(files, [Path::new("away/t.txt")]);
        assert!(order.clone().with_files(|_| None).is_err());
        let order = order.with_files(|_| Some("a\nb\ttier=1\nc\n")).unwrap();
        assert_eq!(order.files().count(), 0);
        let of = |tier: &str| {
            let group = order.members.iter();
            let group =
                group.filter(|group| group.labels.get("tier").is_some_and(|own| own == tier));
            group.map(|group| group.source.clone()).collect::<Vec<_>>()
        };
        let on = |name: &str| MemberName::on("db1", name);
        assert_eq!(of("1"), [MembersSource::Listed(vec![on("b")])]);
        assert_eq!(of("2"), [MembersSource::Listed(vec![on("a"), on("c")])]);
        assert_eq!(order.members.len(), 3);
    }
}
