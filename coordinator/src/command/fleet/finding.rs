//! Finds the members of a fleet: what `[[members]]` of its file names, servers asked where it says so,
//! less what it excludes. How each of them stands, `look.rs` finds.

mod look;
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map::Entry as Slot},
    fs,
    path::Path,
    sync::Arc,
};

use futures::{StreamExt, stream};
use upshift_shared::{
    config::{Config, Environment},
    fleet::{self, FleetFile, Labels, MemberName, MembersSource},
    pg::Target,
};

pub(in crate::command) use look::{Looked, Own, look, pack_in_words};

use super::super::Failure;

/// Servers that are asked for their databases at once.
const ASKED_AT_ONCE: usize = 16;

/// Databases found, in the order of their names.
pub(in crate::command) struct Found {
    /// Each once, however often it is named.
    pub(in crate::command) members: Vec<Named>,
    /// How they are reached.
    pub(in crate::command) entries: Entries,
    /// Sources that could not be asked: what would be there nobody knows.
    pub(in crate::command) unasked: Vec<Unasked>,
    /// Those that were asked, in the same words.
    pub(in crate::command) asked: BTreeSet<String>,
}

/// A database that was found, and not yet looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::command) struct Named {
    pub(in crate::command) name: MemberName,
    pub(in crate::command) labels: Labels,
}

/// A source of members that could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(in crate::command) struct Unasked {
    /// What was to be asked.
    pub(in crate::command) source: String,
    /// Why it was not to be had.
    pub(in crate::command) why: String,
    /// Its place among the `[[members]]`.
    #[serde(skip)]
    number: usize,
    /// The server that was to be asked.
    #[serde(skip)]
    server: String,
}

impl Unasked {
    /// Whether that member may be from there.
    fn may_have(&self, name: &MemberName, file: &FleetFile) -> bool {
        let source = file.members.get(self.number).map(|members| &members.source);
        match (source, &name.database) {
            (Some(MembersSource::Like { like, .. }), Some(database)) => {
                name.entry == self.server && like.iter().any(|pattern| pattern.fits(database))
            }
            // What a query would say nobody knows.
            (Some(MembersSource::Query { .. }), _) => true,
            _ => false,
        }
    }
}

/// The entries of `upshift.toml` that members are reached by, each resolved once: a password may come from
/// a program.
pub(in crate::command) struct Entries {
    config: Arc<Config>,
    environment: Environment,
    resolved: BTreeMap<String, Result<Entry, Failure>>,
}

#[derive(Debug, Clone)]
struct Entry {
    target: Target,
    server: Arc<str>,
    /// Else its target is what a server is asked in, and nobody's database.
    names_database: bool,
}

impl Entries {
    pub(in crate::command) fn new(config: Arc<Config>) -> Self {
        Self {
            config,
            environment: Environment::capture(),
            resolved: BTreeMap::new(),
        }
    }

    /// Resolves an entry, where that is not done yet.
    fn resolve(&mut self, entry: &str) -> Result<&Entry, Failure> {
        let found = match self.resolved.entry(entry.to_owned()) {
            Slot::Occupied(there) => there.into_mut(),
            Slot::Vacant(free) => {
                let named = self.config.server(entry, &self.environment);
                free.insert(match named {
                    Ok((found, names_database)) => {
                        for warning in &found.warnings {
                            eprintln!("upshift: warning: {entry}: {warning}");
                        }
                        let target = found.connection.target();
                        let server = Arc::from(target.server());
                        Ok(Entry {
                            target,
                            server,
                            names_database,
                        })
                    }
                    Err(error) => Err(Failure::usage(error.to_string())),
                })
            }
        };
        found.as_ref().map_err(Clone::clone)
    }

    fn of(&self, name: &MemberName) -> Result<&Entry, Failure> {
        match self.resolved.get(&name.entry) {
            Some(found) => found.as_ref().map_err(Clone::clone),
            None => Err(Failure::usage(format!(
                "nobody has resolved entry {}",
                name.entry
            ))),
        }
    }

    /// How a member is reached.
    ///
    /// # Errors
    /// Where its entry is not there or cannot be understood.
    pub(in crate::command) fn target(&self, name: &MemberName) -> Result<Target, Failure> {
        let entry = self.of(name)?;
        Ok(match &name.database {
            Some(database) => entry.target.on_database(database),
            None if entry.names_database => entry.target.clone(),
            None => return Err(names_no_database(&name.entry)),
        })
    }

    /// What a query is asked in.
    fn database(&mut self, entry: &str) -> Result<Target, Failure> {
        let found = self.resolve(entry)?;
        match found.names_database {
            true => Ok(found.target.clone()),
            false => Err(names_no_database(entry)),
        }
    }

    /// The server of a member, `host:port`.
    ///
    /// # Errors
    /// As [`Self::target`].
    pub(in crate::command) fn server(&self, name: &MemberName) -> Result<Arc<str>, Failure> {
        Ok(Arc::clone(&self.of(name)?.server))
    }

    /// The labels that `upshift.toml` has for an entry.
    fn labels(&self, entry: &str) -> Labels {
        let place = self.config.place(entry);
        place.map(|place| place.labels.clone()).unwrap_or_default()
    }

    /// Where a member is: by this, two names of one database are found.
    fn place(&self, name: &MemberName) -> Option<(Arc<str>, String)> {
        let entry = self.of(name).ok()?;
        let own = || entry.target.database().to_owned();
        let database = name.database.clone().unwrap_or_else(own);
        Some((Arc::clone(&entry.server), database))
    }
}

fn names_no_database(entry: &str) -> Failure {
    Failure::usage(format!(
        "[databases.{entry}] of upshift.toml names no database: write {entry}/DATABASE, or give it a dbname"
    ))
}

/// Finds the members.
///
/// # Errors
/// Where the file names what is not there: an entry, a file; or one database by two names.
pub(in crate::command) async fn find(
    file: &FleetFile,
    config: Arc<Config>,
) -> Result<Found, Failure> {
    let mut entries = Entries::new(config);
    let mut collected = BTreeMap::<MemberName, Labels>::new();
    let mut heard = Heard::default();
    for (number, members) in file.members.iter().enumerate() {
        heard.number = number;
        let found = of_source(&members.source, &mut entries, &mut heard).await?;
        for (name, own) in found {
            if is_excluded(file, &name) {
                continue;
            }
            // A name that comes out of a query need not be an entry: that is said of this member.
            let _resolved = entries.resolve(&name.entry);
            let labels = match collected.entry(name) {
                Slot::Occupied(there) => there.into_mut(),
                Slot::Vacant(free) => {
                    let of_entry = entries.labels(&free.key().entry);
                    free.insert(of_entry)
                }
            };
            labels.extend(members.labels.clone());
            labels.extend(own);
        }
    }
    let mut places = HashMap::with_capacity(collected.len());
    for name in collected.keys() {
        if name.database.is_some() && entries.config.has_entry(&name.to_string()) {
            return Err(Failure::usage(format!(
                "{name} is a database of entry {} and the name of an entry [databases.\"{name}\"] too: \
                 give that entry a name without a slash",
                name.entry
            )));
        }
        if let Some(place) = entries.place(name)
            && let Some(other) = places.insert(place, name)
        {
            return Err(Failure::usage(format!(
                "members {other} and {name} are the same database: name it once, or exclude one of the \
                 names"
            )));
        }
    }
    let members = collected.into_iter();
    Ok(Found {
        members: members
            .map(|(name, labels)| labelled(file, name, labels))
            .collect(),
        entries,
        unasked: heard.unasked,
        asked: heard.asked,
    })
}

fn is_excluded(file: &FleetFile, name: &MemberName) -> bool {
    file.exclude.iter().any(|pattern| pattern.fits_member(name))
}

/// A member with the labels that the rules of the file give it too.
fn labelled(file: &FleetFile, name: MemberName, mut labels: Labels) -> Named {
    for rule in &file.labels {
        if rule
            .patterns
            .iter()
            .any(|pattern| pattern.fits_member(&name))
        {
            labels.extend(rule.set.clone());
        }
    }
    Named { name, labels }
}

impl Found {
    /// Those of `known` that may be of a source that could not be asked are members.
    pub(super) fn add(&mut self, known: BTreeSet<MemberName>, file: &FleetFile) {
        let there: BTreeSet<&MemberName> = self.members.iter().map(|named| &named.name).collect();
        let missing: Vec<MemberName> = known
            .into_iter()
            .filter(|name| !there.contains(name) && !is_excluded(file, name))
            .collect();
        for name in missing {
            let source = self.unasked.iter().find(|it| it.may_have(&name, file));
            let Some(members) = source.and_then(|it| file.members.get(it.number)) else {
                continue;
            };
            let _resolved = self.entries.resolve(&name.entry);
            let mut labels = self.entries.labels(&name.entry);
            labels.extend(members.labels.clone());
            self.members.push(labelled(file, name, labels));
        }
    }
}

/// What became of sources that were asked.
#[derive(Default)]
struct Heard {
    /// The place of the source among the `[[members]]`.
    number: usize,
    unasked: Vec<Unasked>,
    asked: BTreeSet<String>,
}

impl Heard {
    /// What a source said, where it said something.
    fn of<T>(&mut self, source: String, server: &str, said: Result<T, Failure>) -> Option<T> {
        match said {
            Ok(found) => {
                self.asked.insert(source);
                Some(found)
            }
            Err(failure) => {
                self.unasked.push(Unasked {
                    source,
                    why: failure.message().to_owned(),
                    number: self.number,
                    server: server.to_owned(),
                });
                None
            }
        }
    }
}

/// What one source has.
async fn of_source(
    source: &MembersSource,
    entries: &mut Entries,
    heard: &mut Heard,
) -> Result<Vec<(MemberName, Labels)>, Failure> {
    match source {
        MembersSource::Listed(names) => {
            for name in names {
                entries.resolve(&name.entry)?;
                entries.target(name)?;
            }
            let names = names.iter().cloned();
            Ok(names.map(|name| (name, Labels::new())).collect())
        }
        MembersSource::Like { servers, like } => {
            let mut asked = Vec::with_capacity(servers.len());
            for server in servers {
                let target = entries.resolve(server)?.target.clone();
                asked.push(async move { (server, sources::databases(&target).await) });
            }
            let asked: Vec<_> = stream::iter(asked).buffered(ASKED_AT_ONCE).collect().await;
            let mut found = Vec::new();
            for (server, databases) in asked {
                let source = format!("the databases of server {server}");
                let databases = heard.of(source, server, databases).unwrap_or_default();
                let fit = databases
                    .into_iter()
                    .filter(|name| like.iter().any(|pattern| pattern.fits(name)));
                found
                    .extend(fit.map(|database| (MemberName::on(server, &database), Labels::new())));
            }
            Ok(found)
        }
        MembersSource::Query { server, query } => {
            let target = entries.database(server)?;
            let said = sources::query(&target, query, server).await;
            let source = format!("the query of [[members]] on server {server}");
            Ok(heard.of(source, server, said).unwrap_or_default())
        }
        MembersSource::File { path, server } => {
            let found = listed(path, server.as_deref())?;
            for (name, _) in &found {
                entries.resolve(&name.entry)?;
                entries.target(name)?;
            }
            Ok(found)
        }
    }
}

fn listed(path: &Path, server: Option<&str>) -> Result<Vec<(MemberName, Labels)>, Failure> {
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    fleet::parse_members_file(&text, path, server)
        .map_err(|error| Failure::usage(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The members of this `[[members]]`, where the configuration has these entries.
    async fn found(entries: &[&str], members: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upshift.toml");
        let entry = |name: &&str| format!("[databases.\"{name}\"]\nurl = \"postgresql://h/a\"\n");
        fs::write(&path, entries.iter().map(entry).collect::<String>()).unwrap();
        let config = Config::load(Some(&path), &Environment::capture()).unwrap();
        let text = format!("pack = \"p\"\n[[members]]\n{members}\n");
        let file = FleetFile::parse(&text, Path::new("fleet.toml")).unwrap();
        let found = find(&file, Arc::new(config)).await;
        let found = found.map_err(|failure| failure.message().to_owned())?;
        let names = found.members.iter().map(|named| named.name.to_string());
        Ok(names.collect())
    }

    #[tokio::test]
    async fn a_name_that_is_two_databases_is_refused() {
        let listed = "databases = [\"db1/x\"]";
        assert_eq!(
            found(&["db1"], listed).await,
            Ok(vec!["db1/x".to_owned()]),
            "a database of an entry"
        );
        // Elsewhere that is the entry of that name.
        let why = found(&["db1", "db1/x"], listed).await.unwrap_err();
        assert!(why.contains("without a slash"), "{why}");
        let why = found(&["db1/x"], listed).await.unwrap_err();
        assert!(why.contains("no [databases.db1]"), "{why}");
        // Nobody who does not name it is in its way.
        let other = "server = \"db1\"\ndatabases = [\"y\"]";
        let names = found(&["db1", "db1/x"], other).await;
        assert_eq!(names, Ok(vec!["db1/y".to_owned()]));
        let why = found(&["db1"], "databases = [\"db1\", \"db1/a\"]").await;
        assert!(why.unwrap_err().contains("the same database"));
    }
}
