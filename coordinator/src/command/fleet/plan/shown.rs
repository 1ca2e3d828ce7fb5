//! What `fleet plan` prints: for programs as it is, for people as a table of databases, the plans that
//! they share, and the waves.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use upshift_shared::{
    fleet::{FleetFile, Labels, MemberName},
    pack::Version,
};

use super::{
    super::{finding::Unasked, variants::Variant},
    survey::{Modules, Survey, Surveyed},
};
use crate::{
    figures,
    fleet::{self, Found, Member},
};

/// Modules that a line of the table names.
const NAMED: usize = 3;
/// Columns between two columns.
const GAP: usize = 2;

/// The plan of a fleet.
#[derive(Serialize, Deserialize)]
pub(in crate::command) struct Shown {
    fleet: String,
    pack: String,
    target_version: Option<Version>,
    members: Vec<ShownMember>,
    /// Plans, in the order in which members first have them.
    variants: Vec<ShownVariant>,
    waves: Vec<ShownWave>,
    /// How many members are in each state.
    summary: BTreeMap<String, usize>,
    /// Seconds of one worker for all that is to be upgraded.
    seconds: f64,
    estimate: ShownEstimate,
    /// Sources that could not be asked: their databases are in no list here.
    unasked: Vec<Unasked>,
    /// How often the compiler ran.
    compilations: u64,
}

/// Seconds for the whole, pauses for approval and outside of the window apart.
#[derive(Serialize, Deserialize)]
struct ShownEstimate {
    /// With the caps and in the order of the file.
    seconds: f64,
    /// No order takes less.
    lower_bound: f64,
}

#[derive(Serialize, Deserialize)]
struct ShownMember {
    name: MemberName,
    server: String,
    labels: Labels,
    state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    /// Installed modules that the pack has, and their versions.
    #[serde(serialize_with = "plain", deserialize_with = "of_plain")]
    modules: Option<Modules>,
    /// Fingerprint of its plan.
    variant: Option<String>,
    rows: u64,
    bytes: u64,
    seconds: f64,
    wave: Option<String>,
}

fn plain<S: Serializer>(modules: &Option<Modules>, serializer: S) -> Result<S::Ok, S::Error> {
    modules.as_deref().serialize(serializer)
}

fn of_plain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Modules>, D::Error> {
    let modules = Option::<BTreeMap<String, Version>>::deserialize(deserializer)?;
    Ok(modules.map(Arc::new))
}

#[derive(Serialize, Deserialize)]
struct ShownVariant {
    fingerprint: String,
    databases: usize,
    tasks: usize,
    irreversible: usize,
    modules: Vec<ShownUpgrade>,
    warnings: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct ShownUpgrade {
    name: String,
    from: Version,
    to: Version,
}

#[derive(Serialize, Deserialize)]
struct ShownWave {
    name: String,
    databases: usize,
    rows: u64,
    bytes: u64,
    seconds: f64,
    approval: bool,
}

impl Shown {
    pub(super) fn new(
        (file, workers): (&FleetFile, Option<u32>),
        surveyed: Vec<Surveyed>,
        survey: &Survey,
    ) -> Self {
        let mut members = Vec::with_capacity(surveyed.len());
        let mut others = Vec::with_capacity(surveyed.len());
        for one in surveyed {
            members.push(one.member);
            others.push((one.modules, one.variant, one.rows));
        }
        let waves = fleet::assign(&file.waves, &members);
        let estimate = fleet::makespan(file, &members, workers);
        let mut shown = Self {
            fleet: file.name.clone(),
            pack: survey.variants.pack().name.clone(),
            target_version: survey.variants.pack().target_version.clone(),
            members: Vec::with_capacity(members.len()),
            variants: variants(others.iter().filter_map(|(_, variant, _)| variant.as_ref())),
            waves: file.waves.iter().map(ShownWave::of).collect(),
            summary: BTreeMap::new(),
            seconds: members.iter().map(|member| member.seconds).sum(),
            estimate: ShownEstimate {
                seconds: estimate.seconds,
                lower_bound: estimate.lower_bound,
            },
            unasked: survey.found.unasked.clone(),
            compilations: survey.variants.compilations(),
        };
        for ((member, (modules, variant, rows)), wave) in members.into_iter().zip(others).zip(waves)
        {
            let (state, why) = state(&member.found);
            *shown.summary.entry(state.to_owned()).or_default() += 1;
            let wave = wave.and_then(|wave| shown.waves.get_mut(wave as usize));
            let wave = wave.map(|wave| wave.take(&member, rows));
            let Member {
                name,
                server,
                labels,
                bytes,
                seconds,
                ..
            } = member;
            shown.members.push(ShownMember {
                name,
                server,
                labels,
                state: state.to_owned(),
                why,
                modules,
                variant: variant.map(|variant| variant.fingerprint()),
                rows,
                bytes,
                seconds,
                wave,
            });
        }
        shown
    }

    /// Whether all that the file names could be asked.
    pub(super) fn is_whole(&self) -> bool {
        self.unasked.is_empty()
    }

    /// For people. `brief`: of databases only those that cannot be upgraded.
    pub(super) fn text(&self, brief: bool) -> String {
        let mut text = String::new();
        let version = self.target_version.as_ref().map(|v| format!(" {v}"));
        let all = figures::counted(self.members.len() as u64, "database");
        text.push_str(&format!(
            "fleet {}: pack {}{}, {all}\n\n",
            self.fleet,
            self.pack,
            version.unwrap_or_default()
        ));
        self.databases(&mut text, brief);
        self.plans(&mut text);
        self.waves_and_sum(&mut text);
        for Unasked { source, why, .. } in &self.unasked {
            text.push_str(&format!(
                "not asked: {}: {}\n",
                visible(source),
                visible(why)
            ));
        }
        text
    }

    fn databases(&self, text: &mut String, brief: bool) {
        let numbers = self.variants.iter().enumerate();
        let numbers: BTreeMap<&str, usize> = numbers
            .map(|(place, variant)| (variant.fingerprint.as_str(), place + 1))
            .collect();
        let titles = [
            "database", "state", "wave", "plan", "modules", "rows", "size", "estimate",
        ];
        let mut table = vec![(titles.map(str::to_owned), None)];
        let lines = self
            .members
            .iter()
            .filter(|member| !brief || member.why.is_some());
        for member in lines {
            let planned = member.variant.is_some();
            let plan = member
                .variant
                .as_ref()
                .and_then(|own| numbers.get(own.as_str()));
            let known = |known: bool, text: String| if known { text } else { String::new() };
            let line = [
                visible(&member.name.to_string()),
                words(&member.state).to_owned(),
                member.wave.clone().unwrap_or_default(),
                plan.map(|plan| format!("#{plan}")).unwrap_or_default(),
                member
                    .modules
                    .as_deref()
                    .map(of_modules)
                    .unwrap_or_default(),
                known(planned, figures::count(member.rows)),
                known(member.bytes > 0, figures::size(member.bytes)),
                known(planned, figures::estimated(member.seconds)),
            ];
            table.push((line, member.why.as_deref()));
        }
        if table.len() == 1 {
            return;
        }
        let mut widths = [0; 8];
        for (line, _) in &table {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (line, why) in &table {
            let cells = line.iter().zip(widths);
            let padded = cells.map(|(cell, width)| format!("{cell:<wide$}", wide = width + GAP));
            let padded: String = padded.collect();
            text.push_str(padded.trim_end());
            text.push('\n');
            for why in why.iter().flat_map(|why| why.lines()) {
                text.push_str(&format!("    {}\n", visible(why)));
            }
        }
        text.push('\n');
    }

    fn plans(&self, text: &mut String) {
        for (place, variant) in self.variants.iter().enumerate() {
            let irreversible = match variant.irreversible {
                0 => "all of it can be taken back".to_owned(),
                count => {
                    let tasks = figures::counted(count as u64, "task");
                    format!("{tasks} cannot be taken back")
                }
            };
            text.push_str(&format!(
                "plan #{} ({}): {}, {} in {}; {irreversible}\n",
                place + 1,
                variant.fingerprint,
                figures::counted(variant.databases as u64, "database"),
                figures::counted(variant.tasks as u64, "task"),
                figures::counted(variant.modules.len() as u64, "module"),
            ));
            let upgrades = variant.modules.iter();
            let upgrades = upgrades.map(|one| format!("{} {} → {}", one.name, one.from, one.to));
            let upgrades: Vec<String> = upgrades.collect();
            if !upgrades.is_empty() {
                text.push_str(&format!("    {}\n", upgrades.join(", ")));
            }
            for warning in &variant.warnings {
                text.push_str(&format!("    warning: {}\n", visible(warning)));
            }
        }
        if !self.variants.is_empty() {
            text.push('\n');
        }
    }

    fn waves_and_sum(&self, text: &mut String) {
        for wave in &self.waves {
            let approval = if wave.approval {
                "; then it waits for approval"
            } else {
                ""
            };
            text.push_str(&format!(
                "wave {}: {}, {}, {}, {} on one worker{approval}\n",
                wave.name,
                figures::counted(wave.databases as u64, "database"),
                figures::counted(wave.rows, "row"),
                figures::size(wave.bytes),
                figures::estimated(wave.seconds),
            ));
        }
        let sum = self.summary.iter();
        let sum =
            sum.map(|(state, count)| format!("{} {}", figures::count(*count as u64), words(state)));
        let sum: Vec<String> = sum.collect();
        text.push_str(&format!("in all: {}\n", sum.join(", ")));
        text.push_str(&format!(
            "with these caps: {} for all of it, pauses apart; no order takes less than {}\n",
            figures::estimated(self.estimate.seconds),
            figures::estimated(self.estimate.lower_bound),
        ));
    }
}

impl ShownWave {
    fn of(wave: &upshift_shared::fleet::Wave) -> Self {
        Self {
            name: wave.name.clone(),
            databases: 0,
            rows: 0,
            bytes: 0,
            seconds: 0.0,
            approval: wave.approval,
        }
    }

    /// Takes a member in, and gives the wave's name.
    fn take(&mut self, member: &Member, rows: u64) -> String {
        self.databases += 1;
        self.rows += rows;
        self.bytes += member.bytes;
        self.seconds += member.seconds;
        self.name.clone()
    }
}

fn variants<'a>(of: impl Iterator<Item = &'a Arc<Variant>>) -> Vec<ShownVariant> {
    let mut places = BTreeMap::new();
    let mut shown = Vec::<ShownVariant>::new();
    for variant in of {
        let fingerprint = variant.fingerprint();
        let place = *places.entry(fingerprint.clone()).or_insert(shown.len());
        if let Some(known) = shown.get_mut(place) {
            known.databases += 1;
            continue;
        }
        let modules = variant.modules.iter().map(|module| ShownUpgrade {
            name: module.name.clone(),
            from: module.from.clone(),
            to: module.to.clone(),
        });
        let warnings = variant.warnings.iter().map(|warning| {
            let place = warning.source.as_ref().map(|source| format!("{source}: "));
            format!("{}{}", place.unwrap_or_default(), warning.message)
        });
        shown.push(ShownVariant {
            fingerprint,
            databases: 1,
            tasks: variant.tasks,
            irreversible: variant.irreversible,
            modules: modules.collect(),
            warnings: warnings.collect(),
        });
    }
    shown
}

/// How a member stands, for programs, and why.
fn state(found: &Found) -> (&'static str, Option<String>) {
    match found {
        Found::Untouched | Found::TooLong(_) => ("untouched", None),
        Found::Unknown(why) | Found::Lost(why) => ("unknown", Some(why.clone())),
        Found::Current => ("current", None),
        Found::Refused(why) => ("refused", Some(why.clone())),
        Found::Running => ("running", None),
        Found::NotBegun(why) | Found::Failed(why) => ("failed", Some(why.clone())),
        Found::Prepared => ("prepared", None),
        Found::Committed => ("committed", None),
        Found::RollingBack => ("rolling_back", None),
        Found::RolledBack(why) => ("rolled_back", why.clone()),
        Found::Stuck(why) => ("stuck", Some(why.clone())),
    }
}

/// The same for people.
fn words(state: &str) -> &str {
    match state {
        "untouched" => "to be upgraded",
        "unknown" => "not reached",
        "current" => "at the target",
        "refused" => "cannot be upgraded",
        "rolling_back" => "rolling back",
        "rolled_back" => "rolled back",
        other => other,
    }
}

fn of_modules(modules: &BTreeMap<String, Version>) -> String {
    let named = modules.iter().take(NAMED);
    let named: Vec<String> = named
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    match modules.len().checked_sub(NAMED) {
        None | Some(0) => named.join(", "),
        Some(more) => format!("{}, +{more}", named.join(", ")),
    }
}

/// Names of databases may hold anything: what would move the cursor is shown as what it is.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}
