//! A worker as a service of its own: finds the coordinator that leads, keeps a session with it, and looks
//! for the next one where that is lost, until it is told to stop.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rand::RngExt;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use upshift_shared::{Error, Result, clock::Stopwatch};

use crate::{
    link::Link,
    metrics::Metrics,
    pool::Pool,
    session::{self, Ended, Offer, ResolveDatabase},
};

/// The pause before coordinators are looked for again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// After a session that lasted so long the pauses are short again.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// Where coordinators are found.
#[async_trait]
pub trait FindCoordinators: Send + Sync {
    /// URLs, those first that are likely to lead.
    ///
    /// # Errors
    /// When nobody can be asked at present.
    async fn find(&self) -> Result<Vec<String>>;
}

/// A list that does not change.
#[async_trait]
impl FindCoordinators for Vec<String> {
    async fn find(&self) -> Result<Vec<String>> {
        Ok(self.clone())
    }
}

/// A worker.
pub struct Service {
    /// Where coordinators are found.
    pub finder: Arc<dyn FindCoordinators>,
    /// How they are reached.
    pub link: Link,
    /// What it offers.
    pub offer: Offer,
    /// How it reaches databases.
    pub resolver: Arc<dyn ResolveDatabase>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
}

/// What became of the attempt to have a session.
enum Attempt {
    /// It is over for good: an operator has asked the worker to leave, or it was told to stop.
    Over,
    /// The session was closed, or lost.
    Ended,
    /// The coordinator that leads is elsewhere.
    Hint(String),
    /// There was none.
    None,
}

impl Service {
    /// Works until `shutdown` is cancelled, or an operator has drained it: what it holds is finished
    /// first.
    ///
    /// # Errors
    /// Where trying again cannot help: it is not let in, or of another version than the coordinator.
    pub async fn run(&self, shutdown: CancellationToken) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        let mut hint: Option<String> = None;
        while !shutdown.is_cancelled() {
            let urls = match hint.take() {
                Some(url) => vec![url],
                None => self.candidates().await,
            };
            let begun = Stopwatch::start();
            match self.one_of(&urls, &shutdown).await? {
                Attempt::Over => return Ok(()),
                Attempt::Hint(url) if !urls.contains(&url) => hint = Some(url),
                Attempt::Hint(_) | Attempt::None => {}
                Attempt::Ended if begun.elapsed() > GOOD_SESSION => pause = FIRST_PAUSE,
                Attempt::Ended => {}
            }
            // Many workers lose the same coordinator at the same instant.
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::select! {
                () = sleep(pause.mul_f64(jitter)) => {}
                () = shutdown.cancelled() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Ok(())
    }

    async fn candidates(&self) -> Vec<String> {
        match self.finder.find().await {
            Ok(urls) if urls.is_empty() => {
                tracing::info!("no coordinator leads at present");
                urls
            }
            Ok(urls) => urls,
            Err(error) => {
                tracing::warn!(%error, "nobody can be asked which coordinator leads");
                Vec::new()
            }
        }
    }

    /// A session with the first of them that takes it.
    async fn one_of(&self, urls: &[String], shutdown: &CancellationToken) -> Result<Attempt> {
        let mut hint = None;
        for url in urls {
            match self.with(url, shutdown).await {
                Ok(Ended::Drained) => return Ok(Attempt::Over),
                Ok(Ended::Closed) => {
                    tracing::info!(coordinator = url, "the coordinator has closed the session");
                    return Ok(Attempt::Ended);
                }
                Ok(Ended::Elsewhere(leader)) => hint = hint.or(leader),
                Err(error @ (Error::Refused(_) | Error::Config(_))) => return Err(error),
                Err(error) => tracing::warn!(coordinator = url, %error, "no session"),
            }
            if shutdown.is_cancelled() {
                return Ok(Attempt::Over);
            }
        }
        Ok(hint.map_or(Attempt::None, Attempt::Hint))
    }

    async fn with(&self, url: &str, shutdown: &CancellationToken) -> Result<Ended> {
        let line = tokio::select! {
            line = self.link.connect(url) => line?,
            () = shutdown.cancelled() => return Ok(Ended::Drained),
        };
        tracing::info!(coordinator = url, slots = self.offer.slots, "connected");
        let pool = Pool::new(self.offer.slots as usize, Arc::clone(&self.metrics));
        let own = (Arc::clone(&self.resolver), &Arc::new(pool));
        session::run(line, &self.offer, own, shutdown.clone()).await
    }
}
