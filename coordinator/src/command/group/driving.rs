//! Drives the runs of a group, all at once in one process, to where they end together.

use std::sync::Arc;

use futures::future::join_all;
use upshift_shared::{
    Error,
    config::Config,
    ids::GroupId,
    ledger::{
        self, Holder,
        control::{self, Change, Pause},
        group::Write,
        run::RunState,
    },
    plan::Plan,
};

use super::{
    super::{
        Failure, bad_data,
        driving::{After, DrivingArguments},
        host::Host,
    },
    opening::Open,
    shown,
};
use crate::{
    driver::{self, Aim, Ended, Limits, Order, Place, Rebuilt, process},
    group::{Cuts, Seat, seats, share},
    progress::Ending,
};

/// One database's part.
pub(super) struct Job {
    pub(super) holder: Holder,
    pub(super) plan: Arc<Plan>,
    pub(super) rebuilt: Rebuilt,
}

/// What each database may take of what the process may.
pub(super) fn limits(
    config: &Config,
    arguments: &DrivingArguments,
    plans: &[Arc<Plan>],
) -> Vec<Limits> {
    let all = arguments.limits(config);
    let seconds = |plan: &Arc<Plan>| plan.tasks.iter().map(|task| task.seconds).sum();
    let seconds: Vec<f64> = plans.iter().map(seconds).collect();
    let workers = share(all.workers, &seconds);
    let units = arguments.steering.change().max_units;
    let units = units.map_or_else(|| workers.clone(), |units| share(units, &seconds));
    workers
        .into_iter()
        .zip(units)
        .map(|(workers, max_units)| Limits {
            workers,
            max_units,
            ..all.clone()
        })
        .collect()
}

/// Makes all runs `running` and drives them to `prepared`.
pub(super) async fn forward(
    mut open: Open,
    id: GroupId,
    (holders, plans): (Vec<Holder>, Vec<Arc<Plan>>),
    resumed: bool,
    arguments: &DrivingArguments,
) -> Result<(), Failure> {
    let cuts = open.cuts(id, &holders);
    let running = |place| (place, Write::State(RunState::Running));
    let writes: Vec<_> = (0..holders.len()).map(running).collect();
    let cut = cuts.make("running", &writes).await;
    cut.map_err(Error::from)?;
    let limits = limits(&open.group.config, arguments, &plans);
    let mut jobs = Vec::with_capacity(plans.len());
    let members = open.members.iter_mut().zip(&limits);
    for ((member, limits), (holder, plan)) in members.zip(holders.into_iter().zip(plans)) {
        let rebuilt = driver::forward(&mut member.conn, holder.run, &plan, limits).await;
        jobs.push(Job {
            holder,
            rebuilt: rebuilt.map_err(|error| member.failed(error))?,
            plan,
        });
    }
    let how = How {
        aim: Aim::Forward,
        resumed,
        end: "prepared",
    };
    Box::pin(drive(open, cuts, (jobs, limits), how, arguments)).await
}

/// Which way, and what the end is called.
pub(super) struct How {
    pub(super) aim: Aim,
    pub(super) resumed: bool,
    pub(super) end: &'static str,
}

/// Drives all runs to their end, or to where they have to stop.
pub(super) async fn drive(
    mut open: Open,
    cuts: Cuts,
    (jobs, limits): (Vec<Job>, Vec<Limits>),
    how: How,
    arguments: &DrivingArguments,
) -> Result<(), Failure> {
    let checkpoints = checkpoints(&mut open, &jobs).await?;
    let (seats, cutter) = seats(cuts, &checkpoints, how.end);
    let names: Vec<String> = open.members.iter().map(|m| m.name.clone()).collect();
    let mut drives = Vec::with_capacity(jobs.len());
    let mut told = Vec::with_capacity(jobs.len());
    let members = open.members.into_iter().zip(seats);
    let by = process::member().name;
    for ((member, seat), (mut job, mut limits)) in members.zip(jobs.into_iter().zip(limits)) {
        let (mut conn, run) = (member.conn, job.holder.run);
        let options = ledger::options::load(&mut conn, run).await?;
        let last_event = ledger::event::last(&mut conn, run).await?;
        // Each has its share of the workers and of the units; other limits that somebody wanted of it
        // hold.
        let wanted = arguments.steering.change();
        let wanted = Change {
            paused: Some(Pause::End),
            workers: None,
            max_units: wanted.max_units.map(|_| limits.max_units),
            ..wanted
        };
        control::change(&mut conn, run, &wanted, &by).await?;
        let control = control::read(&mut conn, run).await?;
        limits.steer(&control);
        job.rebuilt.limit(&limits);
        // The driver has sessions of its own.
        drop(conn);
        let hint = format!(" --database {}", member.name);
        told.push((member.target.clone(), options.clone(), After { run, hint }));
        let order = Order {
            session: None,
            progress: shown::progress(arguments, &member.name),
            target: member.target,
            database: member.name,
            holder: job.holder,
            plan: job.plan,
            options,
            aim: how.aim.clone(),
            rebuilt: job.rebuilt,
            limits,
            control,
            last_event,
            resumed: how.resumed,
            place: Place::default(),
            coordination: Arc::new(open.coordination.clone()),
            lock: member.lock,
            seat: Some(seat.clone()),
            trace: Host::Process.trace(),
        };
        drives.push(Box::pin(together(order, seat)));
    }
    let (ended, in_doubt) = tokio::join!(join_all(drives), cutter.run());
    let mut ended = ended.into_iter().collect::<Result<Vec<Ended>, _>>()?;
    for (ended, (target, options, after)) in ended.iter_mut().zip(&told) {
        bad_data::tell(target, (options, after), ended).await;
    }
    let command = |verb: &str| open.group.command(verb);
    let text = outcome(&names, &ended, (&how.aim, in_doubt), &command)?;
    if !arguments.json {
        eprintln!("{text}");
    }
    Ok(())
}

/// Drives one of them; however it ends, the others do not wait for it in vain.
async fn together(order: Order, seat: Seat) -> Result<Ended, Error> {
    let ended = process::drive(order, last_words).await;
    match &ended {
        Ok(ended) if matches!(ended.ending, Ending::Prepared | Ending::RolledBack) => {}
        Ok(ended) => seat.stop(&ended.message),
        Err(error) => seat.stop(&error.to_string()),
    }
    ended
}

/// The checkpoints of each plan, and whether the ledger has them already.
async fn checkpoints(open: &mut Open, jobs: &[Job]) -> Result<Vec<Vec<(String, bool)>>, Failure> {
    let mut all = Vec::with_capacity(jobs.len());
    for (member, job) in open.members.iter_mut().zip(jobs) {
        let loaded = ledger::checkpoint::load(&mut member.conn, job.holder.run).await;
        let prepared = loaded.map_err(|error| member.failed(error))?;
        let own = job.plan.checkpoints.iter();
        let own = own.filter(|one| one.joined_with.is_none()).map(|one| {
            let is_prepared = prepared.iter().any(|c| c.name == one.name);
            (one.name.clone(), is_prepared)
        });
        all.push(own.collect());
    }
    Ok(all)
}

/// What the progress of one database shows last: what comes next is said of the group.
fn last_words(ended: &Ended) -> String {
    match ended.ending {
        Ending::Prepared | Ending::RolledBack | Ending::Committed => "with its group".to_owned(),
        _ => ended.message.lines().next().unwrap_or_default().to_owned(),
    }
}

/// How the group has ended, in words.
fn outcome(
    names: &[String],
    ended: &[Ended],
    (aim, in_doubt): (&Aim, bool),
    command: &dyn Fn(&str) -> String,
) -> Result<String, Failure> {
    let all = |ending: Ending| ended.iter().all(|ended| ended.ending == ending);
    if all(Ending::Prepared) {
        return Ok(format!(
            "all databases of the group are prepared\nkeep them with: {}\ntake them back with: {}",
            command("commit"),
            command("rollback")
        ));
    }
    if all(Ending::RolledBack) {
        return Ok(match aim {
            Aim::Back { to: Some(module) } => format!(
                "all databases of the group are at the checkpoint of {module}\ngo forward again with: \
                 {}\ngo further back with: {}",
                command("resume"),
                command("rollback")
            ),
            _ => "all databases of the group are as they were".to_owned(),
        });
    }
    let any = |ending: Ending| ended.iter().any(|ended| ended.ending == ending);
    // Where one has failed, that the others stopped is no news.
    let failed = any(Ending::Failed) || any(Ending::Stuck);
    let told = names
        .iter()
        .zip(ended)
        .filter(|(_, ended)| match ended.ending {
            Ending::Failed | Ending::Stuck => true,
            _ => !failed && !ended.message.is_empty(),
        });
    let mut text: Vec<String> = told
        .map(|(name, ended)| format!("database {name}: {}", ended.message))
        .collect();
    if ended.iter().any(|ended| ended.fenced) {
        text.push(format!(
            "another process drives the group now: {}",
            command("status")
        ));
        return Err(Failure::refused(text.join("\n")));
    }
    text.push(match aim {
        _ if in_doubt => format!(
            "all databases of the group have stopped at a cut that is decided, or may be, and that not all of \
             them know of; what is decided is done in all of them with: {}\nor before they are taken back \
             with: {}",
            command("resume"),
            command("rollback")
        ),
        Aim::Forward => format!(
            "all databases of the group have stopped, none is prepared; go on with: {}\nor take them \
             back with: {}",
            command("resume"),
            command("rollback")
        ),
        Aim::Back { .. } | Aim::TakeBack => format!(
            "all databases of the group have stopped on their way back; go on with: {}",
            command("rollback")
        ),
    });
    Err(Failure::failed(text.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(endings: [Ending; 2], fenced: bool, (aim, in_doubt): (Aim, bool)) -> String {
        let ended = endings.map(|ending| Ended {
            ending,
            message: "its words".to_owned(),
            fenced,
        });
        let names = ["a".to_owned(), "b".to_owned()];
        let command = |verb: &str| format!("upshift {verb} --group g");
        outcome(&names, &ended, (&aim, in_doubt), &command)
            .unwrap_or_else(|failure| format!("{failure:?}"))
    }

    #[test]
    fn nothing_is_said_of_a_cut_that_may_be_decided() {
        let failed = [Ending::Failed, Ending::Failed];
        let text = said(failed, false, (Aim::Forward, false));
        assert!(text.contains("none is prepared"), "{text}");
        for aim in [Aim::Forward, Aim::Back { to: None }] {
            let text = said(failed, false, (aim, true));
            assert!(!text.contains("none is prepared"), "{text}");
            assert!(!text.contains("on their way back"), "{text}");
            for verb in ["resume", "rollback"] {
                assert!(
                    text.contains(&format!("upshift {verb} --group g")),
                    "{text}"
                );
            }
        }
        let text = said(failed, true, (Aim::Forward, true));
        assert!(text.contains("another process drives the group"), "{text}");
    }
}
