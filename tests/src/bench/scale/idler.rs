//! A worker that speaks the protocol and does nothing.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::{
    StreamExt,
    stream::{self, FuturesUnordered},
};
use tokio::{
    sync::mpsc,
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;
use upshift_proto::v1::{
    Credit, Heartbeat, Hello, Unit, UnitDone, WorkerMessage, coordinator_message::Message as Down,
    session_client::SessionClient, worker_message::Message as Up,
};
use upshift_shared::clock::Stopwatch;
use upshift_worker::link::Line;

/// What each unit is said to have taken: so long, its size stays as it is.
const SAID: Duration = Duration::from_secs(2);
/// More often than any coordinator asks for.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How many units are done, of all sessions.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    done: Arc<AtomicU64>,
    until: u64,
    reached: CancellationToken,
}

impl Tally {
    /// So many are to be done.
    pub(super) fn until(until: u64) -> Self {
        Self {
            done: Arc::default(),
            until,
            reached: CancellationToken::new(),
        }
    }

    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many are done.
    pub(super) async fn reached(&self) {
        self.reached.cancelled().await;
    }

    fn one_more(&self) {
        if self.done.fetch_add(1, Ordering::Relaxed) + 1 == self.until {
            self.reached.cancel();
        }
    }
}

/// A worker.
#[derive(Debug, Clone)]
pub(super) struct Idler {
    pub(super) number: u32,
    pub(super) slots: u32,
    /// How long it takes for a unit.
    pub(super) pause: Duration,
    pub(super) tally: Tally,
}

/// Its session.
pub(super) struct Opened {
    up: mpsc::Sender<WorkerMessage>,
    down: stream::BoxStream<'static, Result<Down>>,
}

impl Opened {
    async fn say(&mut self, message: Up) -> Result<()> {
        let message = Some(message);
        let sent = self.up.send(WorkerMessage { message }).await;
        sent.context("the session has ended")
    }
}

impl Idler {
    /// Opens its session: the coordinator has welcomed it.
    pub(super) async fn open(&self, line: Line) -> Result<Opened> {
        let (up, said) = mpsc::channel(self.slots as usize * 2 + 8);
        let outbound = stream::unfold(said, |mut said| async move {
            let message = said.recv().await?;
            Some((message, said))
        });
        let hello = Up::Hello(Hello {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            name: format!("idler {}", self.number),
            slots: self.slots,
            ..Hello::default()
        });
        let message = Some(hello);
        up.send(WorkerMessage { message }).await?;
        let answer = SessionClient::new(line).open(outbound).await?;
        let down = answer.into_inner().map(|message| {
            let message = message.context("the session broke")?.message;
            message.context("a message that is not understood")
        });
        let mut opened = Opened {
            up,
            down: down.boxed(),
        };
        match opened.down.next().await {
            Some(Ok(Down::Welcome(_))) => Ok(opened),
            other => bail!("it was not welcomed but told {other:?}"),
        }
    }

    /// Takes units until all are done; microseconds from each credit to the unit that it was for.
    pub(super) async fn work(&self, mut opened: Opened) -> Result<Vec<u32>> {
        let mut credits = VecDeque::new();
        let mut waited = Vec::new();
        let mut pauses = FuturesUnordered::new();
        let mut heartbeats = interval(HEARTBEAT);
        let units = self.slots;
        opened.say(Up::Credit(Credit { units })).await?;
        credits.extend((0..units).map(|_| Stopwatch::start()));
        loop {
            let done = tokio::select! {
                () = self.tally.reached() => return Ok(waited),
                _ = heartbeats.tick() => {
                    opened.say(Up::Heartbeat(Heartbeat {})).await?;
                    continue;
                }
                Some(unit) = pauses.next() => unit,
                said = opened.down.next() => match said.context("the session has ended")?? {
                    Down::Unit(unit) => {
                        let since: Stopwatch = credits.pop_front().context("a unit without credit")?;
                        waited.push(u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX));
                        if !self.pause.is_zero() {
                            let pause = sleep(self.pause);
                            pauses.push(async move {
                                pause.await;
                                unit
                            });
                            continue;
                        }
                        unit
                    }
                    _ => continue,
                },
            };
            opened.say(Up::UnitDone(report(done))).await?;
            self.tally.one_more();
            opened.say(Up::Credit(Credit { units: 1 })).await?;
            credits.push_back(Stopwatch::start());
        }
    }
}

fn report(unit: Unit) -> UnitDone {
    UnitDone {
        run: unit.run,
        task: unit.task,
        unit: unit.unit,
        direction: unit.direction,
        rows: 1,
        micros: SAID.as_micros() as u64,
        already_done: false,
    }
}
