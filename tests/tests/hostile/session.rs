//! Workers that are none, or mean harm.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use upshift_proto::v1::{
    CoordinatorMessage, Credit, Draining, FailureClass, Heartbeat, Hello, Unit, UnitDone,
    UnitFailed, WorkerMessage, coordinator_message::Message as Down, worker_message::Message as Up,
};
use upshift_tests::{
    compare::{self, Snapshot},
    eventually_async, oracle, small_erp,
};

use crate::rig::{DEADLINE, FORGED, Rig, refused};

/// What a worker of this version says first.
fn hello() -> Hello {
    Hello {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        name: "host:1".to_owned(),
        slots: 1,
        ..Hello::default()
    }
}

/// A session of somebody who says what he likes.
struct Liar {
    up: mpsc::Sender<WorkerMessage>,
    down: Streaming<CoordinatorMessage>,
}

impl Liar {
    async fn open(rig: &Rig, from: u8, first: Option<Up>) -> Result<Self, Status> {
        let broken = |error: anyhow::Error| Status::unknown(error.to_string());
        let mut client = rig.session(from).await.map_err(broken)?;
        let (up, sent) = mpsc::channel(64);
        let up = match first {
            Some(message) => {
                let message = Some(message);
                up.try_send(WorkerMessage { message }).expect("it is empty");
                up
            }
            // Where nothing was said, nothing will be.
            None => {
                drop(up);
                mpsc::channel(1).0
            }
        };
        let down = client.open(ReceiverStream::new(sent)).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn joined(rig: &Rig, from: u8) -> Result<Self> {
        Ok(Self::open(rig, from, Some(Up::Hello(hello()))).await?)
    }

    /// Says it; `false` where nobody listens any more.
    async fn say(&self, message: Up) -> bool {
        let message = Some(message);
        self.up.send(WorkerMessage { message }).await.is_ok()
    }

    async fn hears(&mut self) -> Result<Down> {
        let message = timeout(DEADLINE, self.down.message()).await??;
        message.and_then(|m| m.message).context("it goes on")
    }

    /// Whether the session still goes on.
    async fn is_heard(&mut self) -> Result<()> {
        ensure!(self.say(Up::Heartbeat(Heartbeat {})).await, "it has ended");
        while !matches!(self.hears().await?, Down::HeartbeatAck(_)) {}
        Ok(())
    }

    async fn unit(&mut self) -> Result<Unit> {
        loop {
            if let Down::Unit(unit) = self.hears().await? {
                return Ok(unit);
            }
        }
    }
}

fn done(run: &str, task: u32, unit: u32) -> UnitDone {
    UnitDone {
        run: run.to_owned(),
        task,
        unit,
        direction: 1,
        rows: u64::MAX,
        micros: u64::MAX,
        already_done: false,
    }
}

fn failed(run: &str, task: u32, unit: u32, class: FailureClass) -> UnitFailed {
    UnitFailed {
        run: run.to_owned(),
        task,
        unit,
        direction: 1,
        class: class.into(),
        message: format!("{FORGED}{}", "x".repeat(20_000)),
        sqlstate: format!("{FORGED}40001"),
        micros: u64::MAX,
    }
}

/// Ways to say Hello that are not allowed, and what is answered.
fn wrong_hellos() -> Vec<(&'static str, Option<Up>, Code)> {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let with = |change: &dyn Fn(&mut Hello)| {
        let mut hello = hello();
        change(&mut hello);
        Some(Up::Hello(hello))
    };
    let long = "x".repeat(10_000);
    vec![
        ("nothing", None, Code::InvalidArgument),
        (
            "Credit first",
            Some(Up::Credit(Credit { units: 1 })),
            Code::InvalidArgument,
        ),
        ("no slots", with(&|h| h.slots = 0), Code::InvalidArgument),
        (
            "a million slots",
            with(&|h| h.slots = 1_000_000),
            Code::InvalidArgument,
        ),
        (
            "a long name",
            with(&|h| h.name.clone_from(&long)),
            Code::InvalidArgument,
        ),
        (
            "a name of two lines",
            with(&|h| h.name = FORGED.to_owned()),
            Code::InvalidArgument,
        ),
        (
            "a long label",
            with(&|h| h.labels = [label("a", &long)].into()),
            Code::InvalidArgument,
        ),
        (
            "a label of two lines",
            with(&|h| h.labels = [label(FORGED, "")].into()),
            Code::InvalidArgument,
        ),
        (
            "many labels",
            with(&|h| h.labels = (0..1000).map(|i| label(&i.to_string(), "")).collect()),
            Code::InvalidArgument,
        ),
        (
            "a huge version",
            with(&|h| h.version = FORGED.to_owned() + &"9".repeat(200_000)),
            Code::FailedPrecondition,
        ),
        (
            "a huge message",
            with(&|h| h.name = "x".repeat(1 << 20)),
            Code::OutOfRange,
        ),
    ]
}

#[tokio::test]
async fn who_is_no_worker_gets_no_session() -> Result<()> {
    let mut rig = Rig::new("").await?;
    for (what, first, code) in wrong_hellos() {
        let answer = Liar::open(&rig, 2, first).await.map(|_| ());
        refused(answer, &[code], what)?;
        rig.is_well(what).await?;
    }
    let old = Hello {
        version: "0.0.1".to_owned(),
        ..hello()
    };
    let answer = Liar::open(&rig, 2, Some(Up::Hello(old))).await.map(|_| ());
    let status = refused(answer, &[Code::FailedPrecondition], "another version")?;
    let told = format!(
        "the worker is version 0.0.1, the coordinator {}: install the same version on both",
        env!("CARGO_PKG_VERSION")
    );
    ensure!(status.message() == told, "{status:?}");
    let said = rig.end().await?;
    ensure!(
        said.contains(&told),
        "the coordinator says so as well: {said}"
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_that_says_too_much_harms_nobody() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let mut liars = [Liar::joined(&rig, 2).await?, Liar::joined(&rig, 3).await?];
    for liar in &mut liars {
        liar.say(Up::Hello(hello())).await;
        for _ in 0..200 {
            liar.say(Up::Credit(Credit { units: u32::MAX })).await;
        }
        liar.is_heard().await?;
    }
    for liar in &mut liars {
        for i in 0..200 {
            let run = ["01900000-0000-7000-8000-000000000000", "", FORGED][i as usize % 3];
            liar.say(Up::UnitDone(done(run, u32::MAX - i, i))).await;
            liar.say(Up::UnitFailed(failed(
                run,
                i,
                u32::MAX,
                FailureClass::Fenced,
            )))
            .await;
        }
        liar.is_heard().await?;
    }
    rig.is_well("credits and reports").await?;
    for liar in &mut liars {
        for _ in 0..500 {
            liar.say(Up::Draining(Draining {})).await;
            liar.say(Up::Credit(Credit { units: u32::MAX })).await;
        }
        liar.is_heard().await?;
    }
    rig.is_well("draining twice").await?;
    // A message beyond the limit ends the session, and that alone.
    let [mut first, second] = liars;
    let mut huge = failed("", 0, 0, FailureClass::Later);
    huge.message = "x".repeat(1 << 20);
    first.say(Up::UnitFailed(huge)).await;
    ensure!(first.is_heard().await.is_err(), "the session goes on");
    drop(second);
    // Empty messages, then one who never reads.
    let nothing = Liar::joined(&rig, 4).await?;
    nothing.up.send(WorkerMessage { message: None }).await?;
    let deaf = Liar::joined(&rig, 5).await?;
    for _ in 0..20_000 {
        if timeout(
            Duration::from_secs(2),
            deaf.say(Up::Heartbeat(Heartbeat {})),
        )
        .await
            != Ok(true)
        {
            break;
        }
    }
    rig.is_well("one who does not read").await?;
    let said = rig.end().await?;
    ensure!(said.len() < 50_000, "{} bytes of log", said.len());
    Ok(())
}

/// A liar in a run: it has one unit, and reports on all others.
async fn lies(rig: &Rig, run: &str) -> Result<(Liar, Unit)> {
    let mut liar = Liar::joined(rig, 2).await?;
    liar.say(Up::Credit(Credit { units: 1 })).await;
    let own = liar.unit().await?;
    for task in 0..60 {
        for unit in (0..12).filter(|unit| (task, *unit) != (own.task, own.unit)) {
            liar.say(Up::UnitDone(done(run, task, unit))).await;
            let class = [FailureClass::Never, FailureClass::Fenced][unit as usize % 2];
            liar.say(Up::UnitFailed(failed(run, task, unit, class)))
                .await;
        }
    }
    liar.is_heard().await?;
    Ok((liar, own))
}

#[tokio::test]
async fn nobody_finishes_the_units_of_others() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let naive = rig.database.copy()?;
    oracle::upgrade(&naive, &small_erp::pack()).await?;
    let small = ["--unit-rows", "100", "--passes", "in-place"];
    let run = rig.cluster.submit(&small_erp::pack(), "erp", &small)?;
    let (mut liar, own) = lies(&rig, &run).await?;
    rig.is_well("reports on the units of others").await?;
    // Of its own it may say that it failed, in whatever words.
    let failed = failed(&run, own.task, own.unit, FailureClass::Later);
    liar.say(Up::UnitFailed(failed.clone())).await;
    liar.say(Up::UnitFailed(failed)).await;
    liar.is_heard().await?;
    let honest = rig.cluster.worker(2)?;
    // It goes on with it while the others work.
    eventually_async("an end with a liar", 4 * DEADLINE, async || {
        for task in 0..60 {
            for unit in 0..40 {
                let heard = liar.say(Up::UnitDone(done(&run, task, unit))).await;
                ensure!(heard, "its session has ended");
            }
        }
        Ok(rig.cluster.status(&run)?["doing"] == "")
    })
    .await?;
    rig.cluster.expect(&run, "prepared")?;
    rig.cluster
        .upshift(&["cluster", "commit", &run])
        .succeed()?;
    rig.cluster.expect(&run, "committed")?;
    compare::expect_same(&naive, &rig.database, "with a liar").await?;
    drop((honest, liar));
    rig.is_well("a run with a liar").await?;
    rig.end().await?;
    Ok(())
}

/// Who has a worker's certificate and a unit can say that it is done: that is what the certificate is for, as
/// it is that such a worker writes to the database. The way back does not believe it: it undoes what the
/// ledger has.
#[tokio::test]
async fn the_way_back_believes_the_ledger() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let before = Snapshot::take(&rig.database).await?;
    let small = ["--unit-rows", "100", "--passes", "in-place"];
    let run = rig.cluster.submit(&small_erp::pack(), "erp", &small)?;
    let mut liar = Liar::joined(&rig, 2).await?;
    liar.say(Up::Credit(Credit { units: 6 })).await;
    let mut lied = 0;
    for _ in 0..6 {
        // There may be fewer: what comes next may find that nothing was done.
        let patience = [DEADLINE, Duration::from_secs(5)][usize::from(lied > 0)];
        let Ok(unit) = timeout(patience, liar.unit()).await else {
            break;
        };
        let unit = unit?;
        lied += 1;
        liar.say(Up::UnitDone(done(&run, unit.task, unit.unit)))
            .await;
    }
    ensure!(lied > 0, "it has had no unit");
    liar.is_heard().await?;
    drop(liar);
    rig.is_well("units that are said to be done").await?;
    let _honest = rig.cluster.worker(2)?;
    let status = rig.cluster.settled(&run)?;
    if !["prepared", "failed"].contains(&status["state"].as_str().unwrap_or_default()) {
        bail!("{status}");
    }
    rig.cluster
        .upshift(&["cluster", "rollback", &run])
        .succeed()?;
    rig.cluster.expect(&run, "rolled_back")?;
    before.expect_same(&Snapshot::take(&rig.database).await?, "rolled back")?;
    rig.end().await?;
    Ok(())
}
