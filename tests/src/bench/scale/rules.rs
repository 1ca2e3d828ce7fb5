//! What holds at every event: nobody idles who could work, no limit is passed, nobody is passed over.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use upshift_coordinator::engine::Labels;
use upshift_shared::ids::WorkerId;

use super::{side::RunSide, world::World};

/// Who is free, and who was served when.
#[derive(Debug)]
pub(super) struct Rules {
    world: World,
    /// Workers: where each says that it is, and how many units it could take.
    workers: HashMap<WorkerId, (Labels, u32)>,
    /// What each run wants.
    wants: Vec<Labels>,
    /// Units in flight on each server.
    servers: Vec<u32>,
    /// Units given to workers so far.
    given: u64,
    /// When each run was served last, as a number of these.
    served: Vec<u64>,
}

impl Rules {
    pub(super) fn new(world: &World) -> Self {
        Self {
            workers: HashMap::new(),
            wants: (0..world.databases).map(|n| world.wants(n)).collect(),
            servers: vec![0; world.used_servers() as usize],
            given: 0,
            served: vec![0; world.databases as usize],
            world: world.clone(),
        }
    }

    pub(super) fn joined(&mut self, worker: WorkerId) {
        let labels = self.world.labels(worker.0);
        self.workers.insert(worker, (labels, 0));
    }

    pub(super) fn granted(&mut self, worker: WorkerId, units: u32) {
        if let Some((_, free)) = self.workers.get_mut(&worker) {
            *free += units;
        }
    }

    pub(super) fn ended(&mut self, server: u32) {
        self.servers[server as usize] -= 1;
    }

    /// Units given to workers so far.
    pub(super) fn number(&self) -> u64 {
        self.given
    }

    /// A run is served.
    pub(super) fn leased(
        &mut self,
        worker: WorkerId,
        run: u32,
        runs: &mut [RunSide],
    ) -> Result<()> {
        self.given += 1;
        let (labels, free) = self.workers.get_mut(&worker).context("it has joined")?;
        *free = free.checked_sub(1).context("it had no credit")?;
        let labels = labels.clone();
        let wants = &self.wants[run as usize];
        ensure!(
            self.may_run(&labels, wants),
            "run {run} wants {wants:?}, and was given to {labels:?}"
        );
        let side = &runs[run as usize];
        let server = &mut self.servers[side.server as usize];
        *server += 1;
        ensure!(
            *server <= self.world.server_limit()
                && side.in_flight <= self.world.run_limit()
                && (side.tasks.iter()).all(|task| task.in_flight <= self.world.task_limit()),
            "a limit is passed: {side:?}, {server} on its server"
        );
        self.nobody_is_passed_over(run, runs)?;
        self.served[run as usize] = self.given;
        Ok(())
    }

    /// While a run waits that has a unit to offer, no other that wants the same of the same server is served
    /// twice.
    fn nobody_is_passed_over(&self, run: u32, runs: &[RunSide]) -> Result<()> {
        let before = self.served[run as usize];
        let of = |run: usize| (runs[run].server, &self.wants[run]);
        for (other, side) in runs.iter().enumerate() {
            let passed = side.waits_since.is_some()
                && before > side.waits_number
                && other != run as usize
                && of(other) == of(run as usize);
            ensure!(
                !passed,
                "run {run} was served twice while run {other} waited: {side:?}"
            );
        }
        Ok(())
    }

    /// Whether a worker may run units of a run: it is not in the wrong place, or none is in the right one.
    fn may_run(&self, labels: &Labels, wants: &Labels) -> bool {
        let right = |labels: &Labels| {
            let mut wants = wants.iter();
            wants.all(|(name, value)| labels.get(name).is_none_or(|own| own == value))
        };
        right(labels) || !self.workers.values().any(|(labels, _)| right(labels))
    }

    /// No worker has a slot free while a run has a unit that it could run.
    pub(super) fn nobody_idles(&self, runs: &[RunSide], now: Duration) -> Result<()> {
        for (number, (side, wants)) in runs.iter().zip(&self.wants).enumerate() {
            let full = self.servers[side.server as usize] >= self.world.server_limit();
            if full || side.waits_since.is_none() {
                continue;
            }
            let mut free = self.workers.iter().filter(|(_, (_, free))| *free > 0);
            let idle = free.find(|(_, (labels, _))| self.may_run(labels, wants));
            ensure!(
                idle.is_none(),
                "at {now:?}: {idle:?} idles, and run {number} has units: {side:?}"
            );
        }
        Ok(())
    }
}
