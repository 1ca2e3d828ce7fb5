//! Hooks: programs that run on this machine before and after what is done to a member: stop the tenant,
//! switch its proxy, start it again.

use upshift_shared::{
    Error,
    fleet::{Hook, MemberName},
    pg::Target,
};
use upshift_worker::program::Program;

use super::super::signals;
use crate::placeholders::filled;

/// So many lines of the end of a hook's output are kept.
const LINES: usize = 10;

/// What a hook is told.
pub(super) struct Told {
    pub(super) fleet: String,
    pub(super) wave: String,
    pub(super) member: MemberName,
    pub(super) server: String,
    pub(super) outcome: &'static str,
}

impl Told {
    /// What may stand between braces, and what it stands for.
    fn values(&self, target: &Target) -> [(&'static str, String); Hook::WORDS.len()] {
        [
            ("fleet", self.fleet.clone()),
            ("wave", self.wave.clone()),
            ("member", self.member.to_string()),
            ("server", self.server.clone()),
            ("database", target.database().to_owned()),
            ("outcome", self.outcome.to_owned()),
        ]
    }
}

/// Runs a hook to its end, or to its deadline; how it ended, and the end of its output. The database reaches
/// it in libpq's environment variables, what it is told in ours. Whoever drops this kills it.
pub(super) async fn run(
    hook: &Hook,
    told: &Told,
    target: &Target,
) -> (Result<(), String>, Vec<String>) {
    let values = told.values(target);
    let of_environment = values
        .iter()
        .map(|(name, value)| (format!("UPSHIFT_{}", name.to_uppercase()), value.clone()));
    let program = Program {
        words: hook
            .command
            .iter()
            .map(|word| filled(word, &values))
            .collect(),
        target,
        application_name: "upshift hook".to_owned(),
        timeout: hook.timeout,
        environment: of_environment.collect(),
        // What it has started is to go on: a tenant.
        leaves_others: true,
    };
    let (_running, ends) = signals::of_program();
    match program.output(&ends).await {
        Ok(output) => (Ok(()), last_lines(&output)),
        Err(error) => {
            let (what, output) = match &error {
                Error::Refused(message) => match message.split_once('\n') {
                    Some((what, output)) => (what.to_owned(), last_lines(output)),
                    None => (message.clone(), Vec::new()),
                },
                other => (other.to_string(), Vec::new()),
            };
            let what = what.trim_end_matches(" The end of its output:");
            let what = what.trim_end_matches("; mend the cause, then resume.");
            (Err(format!("the hook failed: {what}")), output)
        }
    }
}

fn last_lines(output: &str) -> Vec<String> {
    let lines: Vec<&str> = output
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = lines.len().saturating_sub(LINES);
    lines[from..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}
