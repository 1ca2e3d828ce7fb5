//! The text of `fleet.toml`, and of files that list members. Whatever is not known is an error with
//! its place, as in `upshift.toml`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    AtEnd, Caps, CommitPolicy, FleetFile, Hook, Hooks, LabelRule, Labels, MemberName, Members,
    MembersSource, OnFailure, Order, Then, Wave, Window, value::is_plain,
};
use crate::{Error, Result, config::Source};

/// Hooks may take so long where the file does not say.
const HOOK_TIMEOUT: Duration = Duration::from_secs(60);
/// As many waves are no waves any more.
const MOST_WAVES: usize = 1_000;

pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// The keys of the file.
const KEYS: [&str; 14] = [
    "approval",
    "name",
    "pack",
    "members",
    "exclude",
    "labels",
    "waves",
    "caps",
    "order",
    "window",
    "on_failure",
    "commit",
    "hooks",
    "patience",
];
/// Those of `[[members]]`.
const MEMBERS: [&str; 7] = [
    "databases",
    "server",
    "servers",
    "like",
    "query",
    "file",
    "labels",
];
/// Those of `[[waves]]`.
const WAVE: [&str; 8] = [
    "name",
    "take",
    "labels",
    "smaller_than",
    "larger_than",
    "max_databases",
    "on_failure",
    "approval",
];

impl FleetFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Config`] with file, line and column for what
    /// it should not hold.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|source| Error::Io {
            context: format!("cannot read {}", path.display()),
            source,
        })?;
        Self::parse(&text, path)
    }

    /// Parses the text of a file. Paths in it are of the folder that `path` is in.
    ///
    /// # Errors
    /// [`Error::Config`] with file, line and column.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let source = Source { text, path };
        let root = DeTable::parse(text)
            .map_err(|e| source.complain(e.span().unwrap_or(0..0), e.message().to_owned()))?;
        Reader { source }.file(root.get_ref())
    }
}

/// A file that lists members: a name on each line, `ENTRY/DATABASE` or, with a server, a database of
/// it; behind a tab, and apart by tabs, labels as `name=value`. Blank lines and those that begin with
/// `#` are passed over.
///
/// # Errors
/// [`Error::Config`] with file and line.
pub fn parse_members_file(
    text: &str,
    path: &Path,
    server: Option<&str>,
) -> Result<Vec<(MemberName, Labels)>> {
    let mut members = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let complain = |message: &str| {
            let place = format!("{}:{}", path.display(), number + 1);
            Error::Config(format!("{message}\n  --> {place}\n   | {line}"))
        };
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let mut fields = line.split('\t');
        let name = fields.next().unwrap_or_default().trim();
        if name.is_empty() {
            return Err(complain("a line begins with the name of a database"));
        }
        let name = match server {
            Some(server) => MemberName::on(server, name),
            None => MemberName::from(name.to_owned()),
        };
        if name.entry.is_empty() || name.database().is_empty() {
            return Err(complain("write ENTRY/DATABASE: neither is empty"));
        }
        let mut labels = Labels::new();
        for field in fields.map(str::trim).filter(|field| !field.is_empty()) {
            let (label, value) = field
                .split_once('=')
                .filter(|(label, _)| !label.is_empty())
                .ok_or_else(|| complain("write labels as name=value, apart by tabs"))?;
            labels.insert(label.to_owned(), value.to_owned());
        }
        members.push((name, labels));
    }
    Ok(members)
}

/// What the file says for all waves, where a wave says nothing else.
#[derive(Clone, Copy, Default)]
struct WaveDefaults {
    on_failure: OnFailure,
    approval: bool,
}

pub(super) struct Reader<'a> {
    pub(super) source: Source<'a>,
}

impl Reader<'_> {
    fn file(&self, root: &DeTable<'_>) -> Result<FleetFile> {
        let mut fleet = self.empty(root)?;
        let mut defaults = WaveDefaults::default();
        let (mut waves, mut members) = (None, None);
        for (key, value) in root {
            match key.get_ref().as_ref() {
                "name" => fleet.name = self.name(value)?,
                "pack" => fleet.pack = self.path(value)?,
                "members" => members = Some(value),
                "exclude" => fleet.exclude = self.patterns(value)?,
                "labels" => fleet.labels = self.each(value, "[[labels]]", Self::label_rule)?,
                "waves" => waves = Some(value),
                "caps" => fleet.caps = self.caps(value)?,
                "order" => fleet.order = self.order(value)?,
                "window" => fleet.window = Some(self.window(value)?),
                "on_failure" => {
                    defaults.on_failure = self.on_failure(value, OnFailure::default())?;
                }
                "approval" => defaults.approval = self.source.boolean(value)?,
                "commit" => fleet.commit = self.commit(value)?,
                "hooks" => fleet.hooks = self.hooks(value)?,
                "patience" => fleet.patience = self.patience(value)?,
                _ => return Err(self.source.unknown(key, KEYS)),
            }
        }
        let Some(members) = members else {
            let message = "a fleet has members: write [[members]] with databases, servers and \
                           like, query, or file";
            return self.wrong(0..0, message);
        };
        fleet.members = self.each(members, "[[members]]", Self::members)?;
        fleet.waves = match waves {
            Some(waves) => self.waves(waves, defaults)?,
            None => vec![Wave {
                on_failure: defaults.on_failure,
                approval: defaults.approval,
                ..Wave::rest("all")
            }],
        };
        Ok(fleet)
    }

    /// What every key defaults to: the name is that of the file.
    fn empty(&self, root: &DeTable<'_>) -> Result<FleetFile> {
        if !root.contains_key("pack") {
            return self.wrong(0..0, "a fleet has a pack: write pack = \"FOLDER\"");
        }
        let stem = self.source.path.file_stem().and_then(|stem| stem.to_str());
        Ok(FleetFile {
            name: stem
                .filter(|name| is_plain(name))
                .unwrap_or("fleet")
                .to_owned(),
            pack: PathBuf::new(),
            members: Vec::new(),
            exclude: Vec::new(),
            labels: Vec::new(),
            waves: Vec::new(),
            caps: Caps::default(),
            order: Order::default(),
            window: None,
            commit: CommitPolicy::default(),
            hooks: Hooks::default(),
            patience: FleetFile::PATIENCE,
        })
    }

    fn members(&self, table: &Value<'_>) -> Result<Members> {
        let (mut server, mut servers, mut labels) = (None, None, Labels::new());
        let (mut databases, mut like, mut query, mut file) = (None, None, None, None);
        for (key, value) in self.source.table(table, "[[members]]")? {
            match key.get_ref().as_ref() {
                "server" => server = Some(self.entry(value)?),
                "servers" => servers = Some(self.entries(value)?),
                "databases" => databases = Some(self.texts(value)?),
                "like" => like = Some(self.patterns(value)?),
                "query" => query = Some(self.text(value)?),
                "file" => file = Some(self.path(value)?),
                "labels" => labels = self.source.labels(value)?,
                _ => return Err(self.source.unknown(key, MEMBERS)),
            }
        }
        let source = match (databases, like, query, file) {
            (Some(databases), None, None, None) if servers.is_none() => {
                let names = databases.into_iter().map(|database| match &server {
                    Some(server) => MemberName::on(server, &database),
                    None => MemberName::from(database),
                });
                MembersSource::Listed(names.collect())
            }
            (None, Some(like), None, None) => {
                let servers = servers.or_else(|| server.map(|server| vec![server]));
                let Some(servers) = servers else {
                    let message = "like needs servers: entries of upshift.toml whose databases are \
                                   looked through";
                    return self.wrong(table.span(), message);
                };
                MembersSource::Like { servers, like }
            }
            (None, None, Some(query), None) if servers.is_none() => {
                let Some(server) = server else {
                    let message = "query needs server: the entry of upshift.toml that is asked";
                    return self.wrong(table.span(), message);
                };
                MembersSource::Query { server, query }
            }
            (None, None, None, Some(path)) if servers.is_none() => {
                MembersSource::File { path, server }
            }
            _ => {
                let message = "members are found in one way: databases, or servers and like, or \
                               server and query, or file; write one more [[members]] for another";
                return self.wrong(table.span(), message);
            }
        };
        Ok(Members { source, labels })
    }

    fn label_rule(&self, table: &Value<'_>) -> Result<LabelRule> {
        let (mut patterns, mut set) = (None, None);
        for (key, value) in self.source.table(table, "[[labels]]")? {
            match key.get_ref().as_ref() {
                "match" => patterns = Some(self.patterns(value)?),
                "set" => set = Some(self.source.labels(value)?),
                _ => return Err(self.source.unknown(key, ["match", "set"])),
            }
        }
        match (patterns, set) {
            (Some(patterns), Some(set)) => Ok(LabelRule { patterns, set }),
            _ => self.wrong(
                table.span(),
                "[[labels]] has match = [\"PATTERN\"] and set = { … }",
            ),
        }
    }

    fn waves(&self, value: &Value<'_>, defaults: WaveDefaults) -> Result<Vec<Wave>> {
        let items = self.array(value, "[[waves]]")?;
        if items.is_empty() || items.len() > MOST_WAVES {
            let message = format!("a fleet has 1 to {MOST_WAVES} waves");
            return self.wrong(value.span(), &message);
        }
        let mut waves: Vec<Wave> = Vec::new();
        for (item, number) in items.iter().zip(1..) {
            let wave = self.wave(item, number, defaults)?;
            if waves.iter().any(|earlier| earlier.name == wave.name) {
                let message = format!("there are two waves \"{}\": name them apart", wave.name);
                return self.wrong(item.span(), &message);
            }
            if waves.last().is_some_and(Wave::takes_all) {
                let message = "nothing is left for this wave: the one before takes all the rest";
                return self.wrong(item.span(), message);
            }
            waves.push(wave);
        }
        match (waves.last(), items.last()) {
            (Some(last), Some(item)) if !last.takes_all() => {
                let message = "the last wave takes the rest, so that every database has its place: \
                               write one more [[waves]] with take = \"rest\", and exclude what is \
                               to be left alone";
                self.wrong(item.span(), message)
            }
            _ => Ok(waves),
        }
    }

    fn wave(&self, table: &Value<'_>, number: u32, defaults: WaveDefaults) -> Result<Wave> {
        let mut wave = Wave {
            on_failure: defaults.on_failure,
            approval: defaults.approval,
            ..Wave::rest(&format!("wave-{number}"))
        };
        for (key, value) in self.source.table(table, "[[waves]]")? {
            match key.get_ref().as_ref() {
                "name" => wave.name = self.name(value)?,
                "take" => wave.take = self.share(value)?,
                "labels" => wave.labels = self.source.labels(value)?,
                "smaller_than" => wave.smaller_than = Some(self.source.size(value)?),
                "larger_than" => wave.larger_than = Some(self.source.size(value)?),
                "max_databases" => wave.max_databases = Some(self.number(value)?),
                "on_failure" => wave.on_failure = self.on_failure(value, defaults.on_failure)?,
                "approval" => wave.approval = self.source.boolean(value)?,
                _ => return Err(self.source.unknown(key, WAVE)),
            }
        }
        Ok(wave)
    }

    fn on_failure(&self, table: &Value<'_>, default: OnFailure) -> Result<OnFailure> {
        let mut on_failure = default;
        let what = "on_failure = { stop_after = 1, then = \"leave\" }";
        for (key, value) in self.source.table(table, what)? {
            match key.get_ref().as_ref() {
                "stop_after" => on_failure.stop_after = self.stop_after(value)?,
                "then" => {
                    let known = [("leave", Then::Leave), ("roll_back", Then::RollBack)];
                    on_failure.then = self.one_of(value, &known)?;
                }
                _ => return Err(self.source.unknown(key, ["stop_after", "then"])),
            }
        }
        Ok(on_failure)
    }

    fn caps(&self, table: &Value<'_>) -> Result<Caps> {
        let mut caps = Caps::default();
        for (key, value) in self.source.table(table, "[caps]")? {
            match key.get_ref().as_ref() {
                "max_databases" => caps.max_databases = Some(self.number(value)?),
                "max_databases_per_server" => caps.per_server = Some(self.number(value)?),
                "connections" => caps.connections = Some(self.number(value)?),
                "servers" => {
                    for (name, cap) in self.source.table(value, "[caps.servers]")? {
                        let cap = self.number(cap)?;
                        caps.servers.insert(name.get_ref().to_string(), cap);
                    }
                }
                _ => {
                    let known = [
                        "max_databases",
                        "max_databases_per_server",
                        "connections",
                        "servers",
                    ];
                    return Err(self.source.unknown(key, known));
                }
            }
        }
        Ok(caps)
    }

    fn order(&self, value: &Value<'_>) -> Result<Order> {
        let known = [
            ("large_first", Order::LargeFirst),
            ("small_first", Order::SmallFirst),
            ("by_name", Order::ByName),
        ];
        self.one_of(value, &known)
    }

    fn commit(&self, value: &Value<'_>) -> Result<CommitPolicy> {
        let known = [
            ("after_run", CommitPolicy::AfterRun),
            ("after_wave", CommitPolicy::AfterWave),
            ("by_hand", CommitPolicy::ByHand),
        ];
        self.one_of(value, &known)
    }

    fn window(&self, table: &Value<'_>) -> Result<Window> {
        let (mut from, mut to, mut days, mut utc_offset) = (None, None, Vec::new(), 0);
        let mut at_end = AtEnd::default();
        for (key, value) in self.source.table(table, "[window]")? {
            match key.get_ref().as_ref() {
                "from" => from = Some(self.time(value)?),
                "to" => to = Some(self.time(value)?),
                "days" => {
                    for item in self.array(value, "days = [\"saturday\", \"sunday\"]")? {
                        days.push(self.weekday(item)?);
                    }
                }
                "utc_offset" => utc_offset = self.utc_offset(value)?,
                "at_end" => {
                    let known = [("finish", AtEnd::Finish), ("stop", AtEnd::Stop)];
                    at_end = self.one_of(value, &known)?;
                }
                _ => {
                    let known = ["from", "to", "days", "utc_offset", "at_end"];
                    return Err(self.source.unknown(key, known));
                }
            }
        }
        let (Some(from), Some(to)) = (from, to) else {
            return self.wrong(
                table.span(),
                "a window has from = \"22:00\" and to = \"05:00\"",
            );
        };
        Ok(Window {
            from,
            to,
            days,
            utc_offset,
            at_end,
        })
    }

    fn hooks(&self, table: &Value<'_>) -> Result<Hooks> {
        let mut hooks = Hooks::default();
        for (key, value) in self.source.table(table, "[hooks]")? {
            match key.get_ref().as_ref() {
                "before" => hooks.before = Some(self.hook(value)?),
                "after" => hooks.after = Some(self.hook(value)?),
                _ => return Err(self.source.unknown(key, ["before", "after"])),
            }
        }
        Ok(hooks)
    }

    fn hook(&self, table: &Value<'_>) -> Result<Hook> {
        let (mut command, mut timeout) = (None, HOOK_TIMEOUT);
        let what = "before = { command = [\"program\", \"{database}\"], timeout = \"60s\" }";
        for (key, value) in self.source.table(table, what)? {
            match key.get_ref().as_ref() {
                "command" => command = Some(self.hook_command(value)?),
                "timeout" => timeout = self.source.duration(value)?,
                _ => return Err(self.source.unknown(key, ["command", "timeout"])),
            }
        }
        match command {
            Some(_) if timeout.is_zero() => {
                self.wrong(table.span(), "a hook has a timeout that is not zero")
            }
            Some(command) => Ok(Hook { command, timeout }),
            None => self.wrong(
                table.span(),
                "a hook has command = [\"program\", \"argument\", …]",
            ),
        }
    }

    fn patience(&self, value: &Value<'_>) -> Result<Duration> {
        match self.source.duration(value)? {
            patience if patience < Duration::from_secs(1) => {
                let message = "a database that is away is waited for, if only for a second: patience = \
                               \"90s\"";
                self.wrong(value.span(), message)
            }
            patience => Ok(patience),
        }
    }

    fn hook_command(&self, value: &Value<'_>) -> Result<Vec<String>> {
        let words = self.source.strings(value)?;
        if let Some(word) = script(&words)
            && let Some(name) = Hook::WORDS
                .iter()
                .find(|name| word.contains(&format!("{{{name}}}")))
        {
            let message = format!(
                "{{{name}}} in a script would be read as a part of it, whatever it holds: write \
                 \"$UPSHIFT_{}\" there",
                name.to_uppercase()
            );
            return self.wrong(value.span(), &message);
        }
        for word in &words {
            for known in word.split('{').skip(1) {
                let name = known.split('}').next().unwrap_or_default();
                if known.contains('}') && is_plain(name) && !Hook::WORDS.contains(&name) {
                    let near = crate::suggest::suggestion(name, &Hook::WORDS);
                    let message = format!("{{{name}}} stands for nothing{near}");
                    return self.wrong(value.span(), &message);
                }
            }
        }
        Ok(words)
    }
}

/// The script, where the words call a shell with one.
fn script(words: &[String]) -> Option<&String> {
    let program = Path::new(words.first()?).file_name()?.to_str()?;
    if !["sh", "bash", "dash", "ash", "ksh", "zsh", "fish"].contains(&program) {
        return None;
    }
    let is_command =
        |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
    let option = words.iter().skip(1).position(is_command)?;
    words.get(option + 2)
}
