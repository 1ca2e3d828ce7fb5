//! The folder in which a fleet that one process conducts has its place, and where its operators leave
//! their orders for that process. The ledgers say what became of each database; this only says what was
//! ordered, and tells.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use upshift_shared::{clock, fleet::MemberName};

use super::{super::Failure, home::Left};
use crate::fleet::{FleetOrder, FleetPlace};

/// Where the folders of fleets are, beside their files.
const FLEETS: &str = ".upshift/fleets";
/// How whoever conducts it tells that it stands.
const STATUS: &str = "status.json";
/// What was done to members, a line each.
const DONE: &str = "done.jsonl";
/// The format of the place that this program knows.
const PLACE_VERSION: u32 = 1;

/// What an order is called while it is taken up, and one that cannot be read from then on.
const TAKEN: &str = "taken";
const BAD: &str = "bad";

/// How long whoever gives an order waits for somebody to take it up: whoever conducts the fleet looks twice a
/// second.
pub(super) const ORDER_PATIENCE: Duration = Duration::from_secs(30);
/// One that is older was given up, or whoever gave it has died: nobody knows that it would be done.
const ORDER_AGE: Duration = ORDER_PATIENCE.saturating_mul(2);

/// Whoever asks how the fleet stands has the lock for a glance: so often is it tried.
const LOOKS: u32 = 20;
const GLANCE: Duration = Duration::from_millis(50);

/// The folder of a fleet.
#[derive(Debug, Clone)]
pub(in crate::command) struct Folder {
    path: PathBuf,
}

/// Whoever has it conducts the fleet; the system takes it back when the process ends.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "closing it gives the lock back")] File);

/// What became of an order.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Why it was refused, where it was.
    refused: Option<String>,
}

/// Something that was done to a member and has ended: one line of the folder's log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::command) struct Done {
    pub(in crate::command) member: MemberName,
    /// `upgrade`, `commit`, `roll_back`, `hook_before`, `hook_after`.
    pub(in crate::command) what: String,
    /// How the member stands then; `done` or `failed` for a hook.
    pub(in crate::command) outcome: String,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::command) why: Option<String>,
    /// How long it took.
    pub(in crate::command) seconds: f64,
    /// When it ended, in seconds since 1970.
    pub(in crate::command) at: u64,
    /// The end of a hook's output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::command) output: Vec<String>,
}

impl Folder {
    /// Of the fleet of that name and file; `state` names another folder.
    pub(super) fn of(file: &Path, name: &str, state: Option<&Path>) -> Self {
        let path = match state {
            Some(state) => state.to_owned(),
            None => {
                let beside = file.parent().unwrap_or(Path::new(""));
                beside.join(FLEETS).join(name)
            }
        };
        Self { path }
    }

    fn cannot(&self, what: &str, error: &io::Error) -> Failure {
        Failure::failed(format!(
            "cannot {what} {}, where the fleet keeps its place: {error}",
            self.path.display()
        ))
    }

    fn orders(&self) -> PathBuf {
        self.path.join("orders")
    }

    fn make(&self) -> Result<(), Failure> {
        // What hooks say and why databases failed is nobody else's business.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.orders())
            .map_err(|error| self.cannot("make", &error))
    }

    /// Takes the fleet; two processes cannot conduct one.
    pub(super) async fn lock(&self) -> Result<Lock, Failure> {
        let lock = self.lock_or_none().await?;
        lock.ok_or_else(|| {
            Failure::refused("another process conducts this fleet: see upshift fleet status")
        })
    }

    /// Whether no process conducts the fleet. Whoever else asks has it for a glance, too.
    pub(super) async fn is_free(&self) -> Result<bool, Failure> {
        self.make()?;
        let mut looks = 0;
        loop {
            let file = self.lock_file()?;
            match file.try_lock_shared() {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) if looks < 2 => looks += 1,
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(error)) => return Err(self.cannot("lock", &error)),
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    fn lock_file(&self) -> Result<File, Failure> {
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.join("lock"))
            .map_err(|error| self.cannot("write", &error))
    }

    /// Takes the fleet, where nobody else has it for longer than a glance.
    pub(super) async fn lock_or_none(&self) -> Result<Option<Lock>, Failure> {
        for _ in 0..LOOKS {
            if let Some(lock) = self.try_lock()? {
                return Ok(Some(lock));
            }
            tokio::time::sleep(GLANCE).await;
        }
        Ok(None)
    }

    /// The same at once, or not at all.
    fn try_lock(&self) -> Result<Option<Lock>, Failure> {
        self.make()?;
        let file = self.lock_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.cannot("lock", &error)),
        }
    }

    /// Where the fleet is; at its beginning where nothing is said.
    pub(super) fn place(&self) -> Result<FleetPlace, Failure> {
        let path = self.path.join("place.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(FleetPlace::default());
            }
            Err(error) => return Err(self.cannot("read", &error)),
        };
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let version: Option<Version> = serde_json::from_str(&text).ok();
        if let Some(Version { version }) = version
            && version > PLACE_VERSION
        {
            return Err(Failure::refused(format!(
                "{} has format {version}, this program knows up to {PLACE_VERSION}: use a newer one",
                path.display()
            )));
        }
        serde_json::from_str(&text).map_err(|error| {
            Failure::refused(format!(
                "{} cannot be read: {error}; without it the ledgers of the databases say how they stand, \
                 and approvals are asked for again: move it away for that",
                path.display()
            ))
        })
    }

    /// Keeps the place: durable when this returns.
    pub(super) fn keep(&self, place: &FleetPlace) -> Result<(), Failure> {
        self.write("place.json", place, true)
            .map_err(|error| self.cannot("write", &error))
    }

    /// Writes a file anew beside the old one and renames it, so that readers see the one or the other.
    fn write(&self, name: &str, value: &impl Serialize, durable: bool) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
        serde_json::to_writer(&mut file, value)?;
        file.flush()?;
        if durable {
            file.as_file().sync_all()?;
        }
        file.persist(self.path.join(name))?;
        if durable {
            File::open(&self.path)?.sync_all()?;
        }
        Ok(())
    }

    /// Leaves an order for whoever conducts the fleet.
    pub(super) fn leave(&self, order: &FleetOrder) -> Result<Left, Failure> {
        self.make()?;
        let name = format!(
            "orders/{:020}-{}.json",
            clock::since_epoch().as_nanos(),
            std::process::id()
        );
        self.write(&name, order, true)
            .map_err(|error| self.cannot("write", &error))?;
        Ok(Left {
            order: order.clone(),
            id: self.path.join(name).display().to_string(),
        })
    }

    /// Orders that were left, the oldest first: whoever left them takes none of these back any more. Those that
    /// nobody waits for are dropped, and those that cannot be read put aside.
    pub(super) fn take_orders(&self) -> Vec<Left> {
        let mut found = Vec::new();
        let oldest = clock::since_epoch().saturating_sub(ORDER_AGE);
        for path in self.orders_called("json") {
            let taken = path.with_extension(TAKEN);
            if fs::rename(&path, &taken).is_err() {
                // It was withdrawn.
                continue;
            }
            let Some(order) = read::<FleetOrder>(&taken) else {
                put_aside(&taken);
                continue;
            };
            let left = Left {
                order,
                id: path.display().to_string(),
            };
            match left_at(&path) {
                Some(at) if at >= oldest => found.push(left),
                _ => {
                    tracing::warn!(order = ?left.order, "an order that was left long ago is not carried out");
                    let why = "it was left so long ago that whoever gave it does not wait for it any more: give it \
                               again";
                    left.answer(Some(why.to_owned()));
                }
            }
        }
        found
    }

    /// Orders of that ending, the oldest first.
    fn orders_called(&self, ending: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.orders()).into_iter().flatten();
        let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = paths
            .filter(|path| path.extension().is_some_and(|own| own == ending))
            .collect();
        paths.sort();
        paths
    }

    /// Says of a member what was done to it. Of one that failed before its ledger could say so nobody
    /// else knows: that is durable when this returns.
    pub(super) fn write_down(&self, done: &Done) {
        let line = serde_json::to_string(done).expect("it is plain data");
        let written = || {
            let mut file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(self.path.join(DONE))?;
            // At once, so that whoever is killed leaves all of it or nothing.
            file.write_all(format!("{line}\n").as_bytes())?;
            match done.why {
                Some(_) => file.sync_data(),
                None => Ok(()),
            }
        };
        if let Err(error) = written() {
            tracing::warn!(%error, "what was done to a member cannot be noted");
        }
    }

    /// All that was noted, in order. A line that was cut off by a crash is left out.
    pub(super) fn written_down(&self, take: &mut (dyn FnMut(Done) + Send)) {
        let Ok(file) = File::open(self.path.join(DONE)) else {
            return;
        };
        for line in BufReader::new(file).split(b'\n').map_while(Result::ok) {
            if let Ok(done) = serde_json::from_slice(&line) {
                take(done);
            }
        }
    }

    /// For whoever conducts the fleet from now on: what an earlier one has told does not hold any more, and
    /// a line that a crash has cut off ends there.
    pub(super) fn take_over(&self) -> Result<(), Failure> {
        // Whoever was to do them has died, and whoever gave them is told by the lack of an answer.
        for path in self.orders_called(TAKEN) {
            tracing::warn!(path = %path.display(), "an order was being taken up when a process ended");
            let _gone = fs::remove_file(path);
        }
        let told = self.path.join(STATUS);
        match fs::remove_file(told) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.cannot("write", &error));
            }
            _ => {}
        }
        let noted = OpenOptions::new()
            .read(true)
            .append(true)
            .open(self.path.join(DONE));
        let Ok(mut noted) = noted else {
            return Ok(());
        };
        let mut ended = || {
            let mut last = [b'\n'];
            if noted.seek(SeekFrom::End(0))? > 0 {
                noted.seek(SeekFrom::End(-1))?;
                noted.read_exact(&mut last)?;
            }
            match last {
                [b'\n'] => Ok(()),
                _ => noted.write_all(b"\n"),
            }
        };
        ended().map_err(|error| self.cannot("write", &error))
    }

    /// Tells other processes how the fleet stands, as far as this one knows.
    pub(super) fn show(&self, shown: &impl Serialize) {
        if let Err(error) = self.write(STATUS, shown, false) {
            tracing::warn!(%error, "how the fleet stands cannot be told");
        }
    }

    /// What whoever conducts the fleet has told last.
    pub(super) fn told<T: DeserializeOwned>(&self) -> Option<T> {
        read(&self.path.join(STATUS))
    }
}

impl Left {
    fn path(&self) -> &Path {
        Path::new(&self.id)
    }

    /// Whoever left it is told what became of it.
    pub(super) fn answer(&self, refused: Option<String>) {
        let answer = serde_json::to_string(&Answer { refused }).expect("it is plain data");
        let answered = self.path().with_extension("answer");
        let taken = self.path().with_extension(TAKEN);
        let written = fs::write(&answered, answer).and_then(|()| fs::remove_file(taken));
        if let Err(error) = written {
            tracing::warn!(%error, "an order cannot be answered");
        }
    }

    /// What became of it, once somebody has taken it up and answered.
    pub(super) fn answered(&self) -> Option<Result<(), Failure>> {
        let path = self.path().with_extension("answer");
        let answer: Answer = read(&path)?;
        // Nobody else reads it.
        let _left = fs::remove_file(&path);
        Some(match answer.refused {
            Some(why) => Err(Failure::refused(why)),
            None => Ok(()),
        })
    }

    /// Takes it back; whether nobody has taken it up, and nobody will.
    pub(super) fn withdraw(&self) -> bool {
        fs::remove_file(self.path()).is_ok()
    }
}

/// When an order was left, by its name.
fn left_at(path: &Path) -> Option<Duration> {
    let name = path.file_stem()?.to_str()?;
    let nanoseconds = name.split_once('-')?.0.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// What is no order is not looked at again.
fn put_aside(path: &Path) {
    let aside = path.with_extension(BAD);
    let done = fs::rename(path, &aside);
    tracing::warn!(path = %aside.display(), ?done, "an order that cannot be read is put aside");
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Which;

    #[test]
    fn orders_are_taken_up_in_turn_and_answered() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Folder::of(&folder.path().join("fleet.toml"), "night", None);
        assert!(folder.take_orders().is_empty());
        let pause = folder.leave(&FleetOrder::Pause).unwrap();
        let retry = folder.leave(&FleetOrder::Retry(Which::All)).unwrap();
        let left = folder.take_orders();
        assert_eq!(left.len(), 2);
        assert_eq!(left[0].order, FleetOrder::Pause);
        assert!(pause.answered().is_none());
        left[0].answer(None);
        left[1].answer(Some("nothing has failed".to_owned()));
        assert_eq!(pause.answered(), Some(Ok(())));
        assert_eq!(
            retry.answered(),
            Some(Err(Failure::refused("nothing has failed")))
        );
        assert!(folder.take_orders().is_empty());
    }

    #[test]
    fn nobody_does_an_order_for_whom_nobody_waits() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::of(Path::new("fleet.toml"), "night", Some(base.path()));
        // Whoever gave up has taken it back; not one that somebody has.
        let first = folder.leave(&FleetOrder::Abort).unwrap();
        assert!(first.withdraw());
        let second = folder.leave(&FleetOrder::Pause).unwrap();
        assert_eq!(folder.take_orders(), std::slice::from_ref(&second));
        assert!(!second.withdraw() && second.answered().is_none());
        // Its process died before it was done: the next one does not do it.
        folder.take_over().unwrap();
        assert!(folder.take_orders().is_empty() && second.answered().is_none());
        // One whose giver has died.
        let third = folder.leave(&FleetOrder::RollBack(Which::All)).unwrap();
        let long_ago = clock::since_epoch() - ORDER_AGE * 2;
        let name = format!("{:020}-1.json", long_ago.as_nanos());
        fs::rename(third.path(), folder.orders().join(name)).unwrap();
        assert!(folder.take_orders().is_empty());
        assert!(folder.orders_called("json").is_empty());
    }

    #[test]
    fn what_is_no_order_is_put_aside() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::of(Path::new("fleet.toml"), "night", Some(base.path()));
        let left = folder.leave(&FleetOrder::Pause).unwrap();
        fs::write(left.path(), "{\"pau").unwrap();
        assert!(folder.take_orders().is_empty());
        let aside = left.path().with_extension(BAD);
        assert!(aside.exists() && !left.path().exists());
        assert!(folder.take_orders().is_empty());
    }

    #[tokio::test]
    async fn one_process_conducts_and_the_place_is_kept() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::of(Path::new("fleet.toml"), "night", Some(base.path()));
        let lock = folder.lock().await.unwrap();
        // Another open file is another holder, in one process too.
        assert!(folder.try_lock().unwrap().is_none());
        drop(lock);
        assert!(folder.try_lock().unwrap().is_some());
        let place = FleetPlace {
            opened: 2,
            paused: true,
            ..FleetPlace::default()
        };
        folder.keep(&place).unwrap();
        assert_eq!(folder.place().unwrap(), place);
        let mode = |name: &str| {
            let metadata = fs::metadata(base.path().join(name)).unwrap();
            std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777
        };
        assert_eq!((mode("place.json"), mode("orders")), (0o600, 0o700));
        fs::write(base.path().join("place.json"), "{\"version\": 99}").unwrap();
        assert!(folder.place().unwrap_err().message().contains("newer"));
    }

    #[test]
    fn a_line_that_was_cut_off_costs_no_other() {
        let base = tempfile::tempdir().unwrap();
        let folder = Folder::of(Path::new("fleet.toml"), "night", Some(base.path()));
        let done = |member: &str| Done {
            member: MemberName::on("db", member),
            what: "upgrade".to_owned(),
            outcome: "failed".to_owned(),
            why: Some("ä \"b\"\nc".to_owned()),
            seconds: 0.0,
            at: 0,
            output: Vec::new(),
        };
        folder.take_over().unwrap();
        folder.write_down(&done("one"));
        // Cut off in the middle of a character.
        let path = base.path().join(DONE);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"member\":\"db/\xc3");
        fs::write(&path, text).unwrap();
        folder.show(&1);
        folder.take_over().unwrap();
        assert_eq!(folder.told::<u32>(), None);
        folder.write_down(&done("two"));
        let mut names = Vec::new();
        folder.written_down(&mut |done| names.push(done.member.to_string()));
        assert_eq!(names, ["db/one", "db/two"]);
    }
}
