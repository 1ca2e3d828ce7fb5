//! A group that this process works on: its file, the locks of all its databases, their runs, and what a
//! crash has left of a cut.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use upshift_shared::{
    config::{Config, Environment},
    ids::GroupId,
    ledger::{
        self, Holder,
        group::Membership,
        run::{RunRow, RunState},
    },
    pg::{self, PgConnection, Target},
};

use super::super::{Failure, database::shell_quoted, driving::take_over, snapshotting};
use crate::{
    coordination::{Coordination, Embedded, Held, Locked},
    driver::{process, sessions::Sessions},
    group::{self, Cuts, GroupFile, Member},
};

/// A database of a group, found but not yet touched.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) pack: Option<PathBuf>,
}

/// The databases that a file names.
pub(super) struct Group {
    /// The file, as it is written on a command line.
    pub(super) path: String,
    pub(super) home: String,
    pub(super) config: Config,
    pub(super) members: Vec<Named>,
}

impl Group {
    /// Reads the file and finds out how its databases are reached; nothing is connected to.
    pub(super) fn read(path: &Path, config: Option<&Path>) -> Result<Self, Failure> {
        let wrong = |error: upshift_shared::Error| Failure::usage(error.to_string());
        let file = GroupFile::read(path).map_err(wrong)?;
        let environment = Environment::capture();
        let config = Config::load(config, &environment).map_err(wrong)?;
        let mut members = Vec::with_capacity(file.members.len());
        let mut places = BTreeMap::new();
        for entry in file.members {
            let text = entry.database.as_deref().unwrap_or(&entry.name);
            let found = config
                .database(Some(text), &environment)
                .map_err(|error| wrong(error).within(&format!("member {}", entry.name)))?;
            if found.password_given {
                return Err(Failure::usage(format!(
                    "member {}: a password does not belong in {}: name an entry of upshift.toml \
                     (password_env, password_file, password_command), or use libpq's password file",
                    entry.name,
                    path.display()
                )));
            }
            for warning in found.warnings {
                eprintln!("upshift: warning: {}: {warning}", entry.name);
            }
            let target = found.connection.target();
            if let Some(other) = places.insert(place(&target), entry.name.clone()) {
                return Err(Failure::usage(format!(
                    "members {other} and {} are the same database",
                    entry.name
                )));
            }
            members.push(Named {
                name: entry.name,
                target,
                pack: entry.pack,
            });
        }
        Ok(Self {
            path: shell_quoted(&path.display().to_string()),
            home: file.home,
            config,
            members,
        })
    }

    /// The command that does something with the group.
    pub(super) fn command(&self, verb: &str) -> String {
        format!("upshift {verb} --group {}", self.path)
    }

    /// Takes the locks of all databases, always in the same order, and opens sessions. Where one is
    /// taken, the others are given back.
    pub(super) async fn open(self) -> Result<Open, Failure> {
        let targets = |m: &Named| (m.name.clone(), m.target.clone());
        let home = self.members.iter().find(|m| m.name == self.home);
        let home = home.map(|member| member.target.clone());
        let coordination = Embedded::new(self.members.iter().map(targets).collect(), home);
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|member| place(&self.members[*member].target));
        let mut sessions = BTreeMap::new();
        for member in order {
            let Named { name, target, .. } = &self.members[member];
            let of = |failure: Failure| failure.within(&format!("database {name}"));
            let lock = coordination.lock_database(name, &process::member()).await;
            let lock = match lock.map_err(|error| of(error.into()))? {
                Locked::Granted(lock) => lock,
                Locked::Taken { by } => {
                    return Err(Failure::refused(format!(
                        "another upshift is at work on database {name} of the group: {by}; wait for it, \
                         or see `{}`",
                        self.command("status")
                    )));
                }
            };
            let conn = pg::connect(target, "upshift coordinator").await;
            let mut conn = conn.map_err(|error| of(error.into()))?;
            snapshotting::settle(&mut conn, target).await.map_err(of)?;
            sessions.insert(member, (conn, lock));
        }
        let members = self.members.iter().zip(sessions.into_values());
        let members = members
            .map(|(named, (conn, lock))| OpenMember {
                name: named.name.clone(),
                target: named.target.clone(),
                conn,
                lock,
            })
            .collect();
        Ok(Open {
            group: self,
            coordination,
            members,
        })
    }
}

/// Where a database is: by this, databases are put in order, and found to be the same.
fn place(target: &Target) -> Vec<String> {
    let wanted = ["PGHOST", "PGPORT", "PGDATABASE"];
    let environment = target.environment();
    let values = environment
        .into_iter()
        .filter(|(name, _)| wanted.contains(&name.as_str()));
    values.map(|(_, value)| value).collect()
}

/// A group whose databases are locked.
pub(super) struct Open {
    pub(super) group: Group,
    pub(super) coordination: Embedded,
    pub(super) members: Vec<OpenMember>,
}

/// A database of it.
pub(super) struct OpenMember {
    pub(super) name: String,
    pub(super) target: Target,
    pub(super) conn: PgConnection,
    pub(super) lock: Box<dyn Held>,
}

impl OpenMember {
    /// A failure of this database.
    pub(super) fn failed(&self, failure: impl Into<Failure>) -> Failure {
        failure.into().within(&format!("database {}", self.name))
    }
}

/// The newest run of a group, as its databases have it.
pub(super) struct Known {
    pub(super) id: GroupId,
    /// In the order of the members; `None` where it was not begun.
    pub(super) runs: Vec<Option<RunRow>>,
}

impl Open {
    /// Finds the group's newest run, and ends what a crash has left of its cuts.
    pub(super) async fn known(&mut self) -> Result<Known, Failure> {
        for member in &mut self.members {
            if ledger::exists(&mut member.conn).await? {
                ledger::create(&mut member.conn).await?;
            }
        }
        let home = self.group.home.clone();
        let Some(found) = self.newest(&home).await? else {
            return Err(Failure::refused(format!(
                "there is no run of a group in database {home}, the home of this one{}",
                self.elsewhere(&home).await?
            )));
        };
        self.compare(&found)?;
        let id = found.id;
        let sessions: Vec<Sessions> = self
            .members
            .iter()
            .map(|member| sessions(&member.target))
            .collect();
        let names = self.members.iter().map(|member| member.name.as_str());
        let pairs: Vec<(&str, &Sessions)> = names.zip(&sessions).collect();
        for recovered in group::resolve(id, &pairs, &self.coordination).await? {
            let how = if recovered.committed {
                "committed"
            } else {
                "rolled back"
            };
            eprintln!(
                "upshift: a cut of the group ({}) was left prepared in {}: {how}, as it is decided",
                recovered.question,
                recovered.members.join(", ")
            );
        }
        let mut runs = Vec::with_capacity(self.members.len());
        for member in &mut self.members {
            let found = match ledger::exists(&mut member.conn).await? {
                true => ledger::group::find(&mut member.conn, id).await?,
                false => None,
            };
            runs.push(match found {
                Some((run, as_member)) if as_member.member == member.name => {
                    ledger::run::read(&mut member.conn, run).await?
                }
                Some((_, as_member)) => {
                    return Err(member.failed(Failure::refused(format!(
                        "the group knows this database as {}: write it so in {}",
                        as_member.member, self.group.path
                    ))));
                }
                None => None,
            });
        }
        Ok(Known { id, runs })
    }

    async fn newest(&mut self, member: &str) -> Result<Option<Membership>, Failure> {
        let Some(of) = self.members.iter_mut().find(|m| m.name == member) else {
            return Ok(None);
        };
        if !ledger::exists(&mut of.conn).await? {
            return Ok(None);
        }
        let found = ledger::group::newest(&mut of.conn).await?;
        Ok(found.map(|(_, membership)| membership))
    }

    /// Where another database says that the home is another one.
    async fn elsewhere(&mut self, home: &str) -> Result<String, Failure> {
        let names: Vec<String> = self.members.iter().map(|m| m.name.clone()).collect();
        for name in names {
            if let Some(found) = self.newest(&name).await?
                && found.home != home
            {
                return Ok(format!(
                    "; database {name} belongs to one whose home is {}: write home = \"{}\" in {}",
                    found.home, found.home, self.group.path
                ));
            }
        }
        Ok(String::new())
    }

    /// Is the file's group the one that was begun?
    fn compare(&self, begun: &Membership) -> Result<(), Failure> {
        if begun.home != self.group.home {
            return Err(Failure::refused(format!(
                "the home of the group is {}: write home = \"{}\" in {}",
                begun.home, begun.home, self.group.path
            )));
        }
        let mut here: Vec<&str> = self.members.iter().map(|m| m.name.as_str()).collect();
        let mut there: Vec<&str> = begun.members.iter().map(String::as_str).collect();
        here.sort_unstable();
        there.sort_unstable();
        if here == there {
            return Ok(());
        }
        Err(Failure::refused(format!(
            "{} names {}, but the group was begun with {}",
            self.group.path,
            here.join(", "),
            there.join(", ")
        )))
    }

    /// Takes all runs over.
    pub(super) async fn take_over(&mut self, runs: &[RunRow]) -> Result<Vec<Holder>, Failure> {
        let mut holders = Vec::with_capacity(runs.len());
        for (member, row) in self.members.iter_mut().zip(runs) {
            let holder = take_over(&mut member.conn, row.run).await;
            holders.push(holder.map_err(|error| member.failed(error))?);
        }
        Ok(holders)
    }

    /// What makes the group's cuts.
    pub(super) fn cuts(&self, id: GroupId, holders: &[Holder]) -> Cuts {
        let members = self.members.iter().zip(holders);
        let members = members.map(|(member, holder)| Member {
            name: member.name.clone(),
            holder: *holder,
            sessions: sessions(&member.target),
        });
        Cuts::new(id, members.collect(), self.coordination.clone())
    }

    /// Gives all locks back, where there was nothing to drive.
    pub(super) async fn close(self) {
        for member in self.members {
            drop(member.conn);
            member.lock.release().await;
        }
    }
}

/// Whether a run is rolled back, and not only to a checkpoint.
pub(super) fn is_at_start(row: &RunRow) -> bool {
    row.state == RunState::RolledBack && row.rollback_to.is_none()
}

impl Known {
    /// The runs, where all databases have theirs and all of them are in one of these states.
    pub(super) fn all(&self, states: &[RunState]) -> Option<Vec<RunRow>> {
        let runs: Option<Vec<RunRow>> = self.runs.iter().cloned().collect();
        runs.filter(|runs| runs.iter().all(|row| states.contains(&row.state)))
    }

    /// Whether the run of some database is in one of these states.
    pub(super) fn any(&self, states: &[RunState]) -> bool {
        let mut runs = self.runs.iter().flatten();
        runs.any(|row| states.contains(&row.state))
    }

    /// Whether all of them are back at the start.
    pub(super) fn is_back(&self) -> bool {
        self.runs
            .iter()
            .all(|run| run.as_ref().is_some_and(is_at_start))
    }

    /// Whether in no database anything has run: where a process dies while it stores the runs, some have
    /// theirs and some do not.
    pub(super) fn never_ran(&self) -> bool {
        let mut there = self.runs.iter().flatten();
        !self.is_back() && there.all(|row| row.state == RunState::Planned || is_at_start(row))
    }

    /// Refuses what fits no state that the group can be in by itself.
    pub(super) fn torn(&self, open: &Open) -> Failure {
        let states: Vec<String> = open
            .members
            .iter()
            .zip(&self.runs)
            .map(|(member, run)| match run {
                Some(row) => format!("{} is {}", member.name, row.state),
                None => format!("{} was not begun", member.name),
            })
            .collect();
        Failure::refused(format!(
            "the databases of the group are not where this could go on from: {}; where they were moved \
             with --force-single, so the others have to be; where the group was not begun in all: {}",
            states.join(", "),
            open.group.command("rollback")
        ))
    }
}

/// For what is done to a member beside its drive: a few at once.
fn sessions(target: &Target) -> Sessions {
    Sessions::at_most(target.clone(), "upshift group".to_owned(), 4)
}
