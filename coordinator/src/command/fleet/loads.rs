//! How much the workers have to do, asked a few times a second: by it the fleet begins as many databases
//! as keep them busy.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{driver::hub::Hub, engine::Load};

/// How often it is asked.
const BEAT: Duration = Duration::from_millis(250);
/// How long the loop that drives the runs may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to hear of it; it is asked for as long as this lives.
pub(super) struct Loads {
    heard: watch::Receiver<Load>,
    _asking: JoinSet<()>,
}

impl Loads {
    /// Asks from now on.
    pub(super) fn of(hub: Hub) -> Self {
        let (told, mut heard) = watch::channel(Load::default());
        heard.mark_unchanged();
        let mut asking = JoinSet::new();
        asking.spawn(async move {
            let mut beats = interval(BEAT);
            beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beats.tick().await;
                match timeout(PATIENCE, hub.load()).await {
                    Ok(Ok(load)) => {
                        told.send_replace(load);
                    }
                    // It drives nothing any more.
                    Ok(Err(_)) => return,
                    Err(_) => tracing::warn!("the loop that drives runs does not answer"),
                }
            }
        });
        Self {
            heard,
            _asking: asking,
        }
    }

    /// The next answer; never again once there is none.
    pub(super) async fn next(&mut self) -> Load {
        match self.heard.changed().await {
            Ok(()) => *self.heard.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::metrics::Metrics;

    /// As long as there is a loop there are answers, each of them once; without one, none.
    #[tokio::test]
    async fn answers_come_from_the_loop_that_drives() {
        let (hub, driver) = Hub::new(Arc::new(Metrics::default()));
        let stop = CancellationToken::new();
        let mut loop_of_runs = JoinSet::new();
        loop_of_runs.spawn(driver.run(stop.clone()));
        let mut loads = Loads::of(hub);
        let enough = BEAT * 20;
        for _ in 0..3 {
            let load = timeout(enough, loads.next()).await;
            assert_eq!(load.ok(), Some(Load::default()));
        }
        stop.cancel();
        while loop_of_runs.join_next().await.is_some() {}
        // One may be under way.
        while timeout(BEAT, loads.next()).await.is_ok() {}
        assert!(timeout(BEAT * 2, loads.next()).await.is_err());
    }
}
