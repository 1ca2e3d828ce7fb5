//! `upshift run PACK --group FILE`: compiles a plan for each database and drives all of them to
//! `prepared` together.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures::future::try_join_all;
use upshift_shared::{
    ids::{GroupId, RunId},
    ledger::{
        self,
        group::Membership,
        options::RunOptions,
        run::{RunRow, RunState},
    },
    pack::Pack,
    plan::Plan,
};

use super::{
    super::{
        Failure, bad_data,
        compiling::{self, PackArguments, stored},
        driving::DrivingArguments,
        ordering::OrderingArguments,
        run::{ask, refuse_unfinished, submitted, summary},
    },
    commit, driving,
    opening::{Group, Open, OpenMember},
};

/// What was asked for.
pub(in super::super) struct Order<'a> {
    pub(in super::super) pack: &'a PackArguments,
    pub(in super::super) driving: &'a DrivingArguments,
    pub(in super::super) ordering: &'a OrderingArguments,
    pub(in super::super) commit: bool,
    pub(in super::super) yes: bool,
}

pub(in super::super) async fn run(
    file: &Path,
    order: Order<'_>,
    config: Option<&Path>,
) -> Result<(), Failure> {
    let group = Group::read(file, config)?;
    let mut packs = Vec::with_capacity(group.members.len());
    for member in &group.members {
        let folder = member.pack.as_ref().unwrap_or(&order.pack.pack);
        packs.push(compiling::load(folder)?);
    }
    let mut open = group.open().await?;
    refuse_no_room(&mut open).await?;
    let run_options = order.ordering.options(&open.group.config.run);
    let members = open.members.iter_mut().zip(packs);
    let compiled = members.map(|(member, pack)| compile(member, pack, (order.pack, &run_options)));
    let compiled = try_join_all(compiled).await?;
    let (plans, sources): (Vec<Arc<Plan>>, Vec<String>) = compiled.into_iter().unzip();
    if !order.driving.json {
        for plan in &plans {
            eprintln!("{}", summary(plan));
        }
    }
    if plans.iter().all(|plan| plan.tasks.is_empty()) {
        open.close().await;
        return Ok(());
    }
    if !order.yes && !order.driving.json {
        for plan in &plans {
            ask(plan, order.commit)?;
        }
    }
    let id = GroupId::generate();
    let runs = begin(&mut open, id, (&plans, &sources), &run_options).await?;
    let holders = open.take_over(&runs).await?;
    for (member, (holder, plan)) in open.members.iter_mut().zip(holders.iter().zip(&plans)) {
        let event = submitted(plan, order.commit);
        let written = ledger::event::append(&mut member.conn, *holder, &event).await;
        written.map_err(|error| member.failed(error))?;
    }
    driving::forward(open, id, (holders, plans), false, order.driving).await?;
    if order.commit {
        commit::run(file, order.driving, config).await?;
    }
    Ok(())
}

/// The plan of one database, if no other run is in the way; and what compiling it anew takes.
async fn compile(
    member: &mut OpenMember,
    pack: Pack,
    (arguments, run_options): (&PackArguments, &RunOptions),
) -> Result<(Arc<Plan>, String), Failure> {
    let compiled = async {
        let hint = format!(" --database {}", member.name);
        refuse_unfinished(&mut member.conn, &hint).await?;
        let sources = compiling::read(&mut member.conn, pack, arguments).await?;
        let mut options = sources.options(arguments);
        let remark = bad_data::heed(run_options, &mut options)?;
        let stored = stored::text(&sources, &options)?;
        let mut plan = compiling::compile(sources, &options)?;
        plan.warnings.extend(remark);
        Ok((Arc::new(plan), stored))
    };
    let compiled: Result<_, Failure> = compiled.await;
    compiled.map_err(|failure| member.failed(failure))
}

/// Stores a run in each database, the home first: where the process dies here, `rollback` finds there
/// what was begun, and in no database has anything run.
async fn begin(
    open: &mut Open,
    id: GroupId,
    (plans, sources): (&[Arc<Plan>], &[String]),
    options: &RunOptions,
) -> Result<Vec<RunRow>, Failure> {
    let names: Vec<String> = open.members.iter().map(|m| m.name.clone()).collect();
    let home = open.group.home.clone();
    let path = open.group.path.clone();
    let mut members: Vec<_> = open
        .members
        .iter_mut()
        .zip(plans.iter().zip(sources))
        .enumerate()
        .collect();
    members.sort_by_key(|(_, (member, _))| member.name != home);
    let mut runs = BTreeMap::new();
    for (place, (member, (plan, source))) in members {
        let mut options = options.clone();
        options.group = Some(Membership {
            id,
            member: member.name.clone(),
            members: names.clone(),
            home: home.clone(),
            file: path.clone(),
        });
        let stored = async {
            let run = RunId::generate();
            let version = env!("CARGO_PKG_VERSION");
            ledger::create(&mut member.conn).await?;
            ledger::run::insert_with(&mut member.conn, run, plan, version, &options).await?;
            ledger::source::store(&mut member.conn, run, source).await?;
            ledger::run::read(&mut member.conn, run).await
        }
        .await;
        let row = stored.map_err(|error| member.failed(error))?;
        let row = row.filter(|row| row.state == RunState::Planned);
        let row = row.ok_or_else(|| member.failed(Failure::failed("the run is gone again")))?;
        runs.insert(place, row);
    }
    Ok(runs.into_values().collect())
}

/// Refuses where a server has no room for a prepared transaction of each of its databases.
async fn refuse_no_room(open: &mut Open) -> Result<(), Failure> {
    let mut servers: BTreeMap<(String, u16), usize> = BTreeMap::new();
    let server = |target: &upshift_shared::pg::Target| {
        let options = target.options();
        let socket = options.get_socket().map(|path| path.display().to_string());
        let host = socket.unwrap_or_else(|| options.get_host().to_owned());
        (host, options.get_port())
    };
    for member in &open.members {
        *servers.entry(server(&member.target)).or_default() += 1;
    }
    for member in &mut open.members {
        let (host, port) = server(&member.target);
        let wanted = servers[&(host.clone(), port)] as i64;
        let (most, taken) = ledger::group::room(&mut member.conn).await?;
        if most - taken >= wanted {
            continue;
        }
        let why = match most {
            0 => "allows no prepared transactions (max_prepared_transactions is 0)".to_owned(),
            _ => format!("has room for {} more prepared transactions", most - taken),
        };
        return Err(Failure::refused(format!(
            "the server of database {}, {host} port {port}, {why}, and a group needs one for each of its \
             databases there, {wanted}: set max_prepared_transactions = {} in its postgresql.conf (or \
             parameter group) and restart the server (a standby first, if it has one); nothing was \
             begun; upshift doctor says the same",
            member.name,
            (taken + wanted).max(10)
        )));
    }
    Ok(())
}
