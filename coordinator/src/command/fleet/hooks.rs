//! Hooks: programs that run on this machine before and after what is done to a member: stop the tenant,
//! switch its proxy, start it again.

use tokio_util::sync::CancellationToken;
use upshift_shared::{
    Error,
    fleet::{Hook, MemberName},
    pg::Target,
};
use upshift_worker::program::Program;

/// So many lines of the end of a hook's output are kept.
const LINES: usize = 10;

/// What a hook is told.
pub(super) struct Told<'a> {
    pub(super) fleet: &'a str,
    pub(super) wave: &'a str,
    pub(super) member: &'a MemberName,
    pub(super) server: &'a str,
    pub(super) outcome: &'a str,
}

/// How a hook ended.
pub(super) struct HookEnded {
    pub(super) result: Result<(), String>,
    /// The end of its output.
    pub(super) output: Vec<String>,
}

/// Runs a hook to its end, or to its deadline. The database reaches it in libpq's environment variables.
pub(super) async fn run(
    hook: &Hook,
    told: &Told<'_>,
    (target, cancel): (&Target, &CancellationToken),
) -> HookEnded {
    let program = Program {
        words: hook
            .command
            .iter()
            .map(|word| filled(word, told, target))
            .collect(),
        target,
        application_name: "upshift hook".to_owned(),
        timeout: hook.timeout,
    };
    match program.output(cancel).await {
        Ok(output) => HookEnded {
            result: Ok(()),
            output: last_lines(&output),
        },
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
            HookEnded {
                result: Err(format!("the hook failed: {what}")),
                output,
            }
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

/// A word with what stands between braces in it filled in; what was filled in is not looked at again.
fn filled(word: &str, told: &Told<'_>, target: &Target) -> String {
    let member = told.member.to_string();
    let values = [
        ("{fleet}", told.fleet),
        ("{wave}", told.wave),
        ("{member}", member.as_str()),
        ("{server}", told.server),
        ("{database}", target.database()),
        ("{outcome}", told.outcome),
    ];
    let mut rest = word;
    let mut out = String::with_capacity(word.len());
    'word: while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        for (name, value) in &values {
            if let Some(after) = rest.strip_prefix(name) {
                out.push_str(value);
                rest = after;
                continue 'word;
            }
        }
        out.push('{');
        rest = &rest[1..];
    }
    out.push_str(rest);
    out
}
