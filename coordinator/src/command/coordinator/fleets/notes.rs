//! What the ledgers of a fleet's members do not say and whoever leads next is to tell: what their hooks said, and
//! which were at the target. It is kept in the cluster's store, in parts that are filled one after another; when
//! all are full the oldest is. Written a few times a minute, whatever the number of members.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Mutex as Pen, time::sleep};
use upshift_shared::{Result, ids::RunId};

use super::super::super::fleet::Done;
use crate::coordination::Coordination;

/// A part is so large.
const PART_BYTES: usize = 64 * 1024;
/// And there are so many: what a fleet has of the store beside its submission.
const PARTS: u64 = 32;
/// How often what is new is written.
const EVERY: Duration = Duration::from_secs(2);
/// So much waits to be written at the most; the oldest is left out.
const WAITING: usize = 4_096;
/// Characters of a line of a hook's output, and of a reason.
const LINE: usize = 200;

/// What is noted of a fleet.
pub(super) struct Notes {
    coordination: Arc<dyn Coordination>,
    waiting: Mutex<VecDeque<String>>,
    /// The part that is being filled, and under which number, once it was looked which that is. Whoever
    /// writes or reads holds it.
    part: Pen<Option<(RunId, Part)>>,
}

/// A part: its number, a line, and what was noted, a line each.
#[derive(Debug, Clone, Default)]
struct Part {
    number: u64,
    text: String,
    /// Whether the store has it.
    is_kept: bool,
}

impl Part {
    fn decoded(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (number, text) = text.split_once('\n')?;
        Some(Self {
            number: number.parse().ok()?,
            text: text.to_owned(),
            is_kept: true,
        })
    }

    fn encoded(&self) -> Vec<u8> {
        format!("{}\n{}", self.number, self.text).into_bytes()
    }

    /// Where it is, and where another one was before.
    fn place(&self) -> u32 {
        u32::try_from(self.number % PARTS).unwrap_or_default()
    }
}

impl Notes {
    pub(super) fn new(coordination: Arc<dyn Coordination>) -> Self {
        Self {
            coordination,
            waiting: Mutex::default(),
            part: Pen::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes it, where nobody else says it; it is written soon.
    pub(super) fn take(&self, done: &Done) {
        let is_meant = match done.what.as_str() {
            "hook_before" | "hook_after" => true,
            "upgrade" => done.outcome == "current",
            _ => false,
        };
        if !is_meant {
            return;
        }
        let cut = |text: &String| text.chars().take(LINE).collect();
        let done = Done {
            why: done.why.as_ref().map(cut),
            output: done.output.iter().map(cut).collect(),
            ..done.clone()
        };
        let line = serde_json::to_string(&done).expect("it is plain data");
        let mut waiting = self.waiting();
        if waiting.len() == WAITING {
            waiting.pop_front();
        }
        waiting.push_back(line);
    }

    /// Writes what is new, again and again.
    pub(super) async fn keep(&self, under: RunId) -> std::convert::Infallible {
        loop {
            sleep(EVERY).await;
            self.write(under).await;
        }
    }

    /// Writes what is new; what the store does not take is written later.
    pub(super) async fn write(&self, under: RunId) {
        if let Err(error) = self.written(under).await {
            tracing::warn!(%error, "what hooks of a fleet have said is not written yet");
        }
    }

    async fn written(&self, under: RunId) -> Result<()> {
        let mut part = self.part.lock().await;
        // A fleet that is begun anew has another one.
        let is_known = part.as_ref().is_some_and(|(of, _)| *of == under);
        if !is_known && !self.waiting().is_empty() {
            let newest = self.parts(under).await?.pop();
            *part = Some((under, newest.unwrap_or_default()));
        }
        let Some((_, part)) = part.as_mut().filter(|(of, _)| *of == under) else {
            return Ok(());
        };
        loop {
            let is_full = self.fill(part);
            if !part.is_kept && !part.text.is_empty() {
                let store = &self.coordination;
                store
                    .put_submission(under, part.place(), &part.encoded())
                    .await?;
                part.is_kept = true;
            }
            if !is_full {
                return Ok(());
            }
            *part = Part {
                number: part.number + 1,
                ..Part::default()
            };
        }
    }

    /// Puts what is new into a part, as far as there is room; whether there was not enough.
    fn fill(&self, part: &mut Part) -> bool {
        let mut waiting = self.waiting();
        while let Some(line) = waiting.pop_front() {
            if !part.text.is_empty() && part.text.len() + line.len() >= PART_BYTES {
                waiting.push_front(line);
                return true;
            }
            part.text.push_str(&line);
            part.text.push('\n');
            part.is_kept = false;
        }
        false
    }

    /// Those that are kept, the oldest first.
    async fn parts(&self, under: RunId) -> Result<Vec<Part>> {
        let parts = self.coordination.submission(under).await?;
        let parts = parts.iter().filter_map(|bytes| Part::decoded(bytes));
        let mut parts: Vec<Part> = parts.collect();
        parts.sort_by_key(|part| part.number);
        Ok(parts)
    }

    /// All that was noted, in order, as far as it is kept.
    pub(super) async fn all(&self, under: RunId) -> Result<Vec<Done>> {
        // Nothing is written meanwhile.
        let part = self.part.lock().await;
        let mut kept = self.parts(under).await?;
        if let Some((of, own)) = part.as_ref()
            && *of == under
            && !own.is_kept
        {
            kept.retain(|part| part.place() != own.place());
            kept.push(own.clone());
        }
        let waiting: Vec<String> = self.waiting().iter().cloned().collect();
        let kept = kept.iter().flat_map(|part| part.text.lines());
        let lines = kept.chain(waiting.iter().map(String::as_str));
        Ok(lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::Embedded;

    fn hook(number: usize) -> Done {
        Done {
            member: format!("db1/tenant_{number}").into(),
            what: "hook_after".to_owned(),
            outcome: "done".to_owned(),
            why: None,
            seconds: 1.0,
            at: 1,
            output: vec!["x".repeat(1_000); 10],
        }
    }

    async fn numbers(notes: &Notes, under: RunId) -> Vec<usize> {
        let all = notes.all(under).await.unwrap();
        let number = |done: &Done| {
            let name = done.member.to_string();
            name.trim_start_matches("db1/tenant_").parse().unwrap()
        };
        all.iter().map(number).collect()
    }

    #[tokio::test]
    async fn whoever_leads_next_knows_the_newest() {
        let store = Arc::new(Embedded::default());
        let under = RunId::generate();
        let notes = Notes::new(Arc::clone(&store) as Arc<dyn Coordination>);
        assert!(numbers(&notes, under).await.is_empty());
        for number in 0..40 {
            notes.take(&hook(number));
            if number % 7 == 0 {
                notes.write(under).await;
            }
        }
        let all: Vec<usize> = (0..40).collect();
        assert_eq!(numbers(&notes, under).await, all, "what waits, too");
        notes.write(under).await;
        // Another one goes on where that one was, and in the end the oldest have to go.
        let next = Notes::new(Arc::clone(&store) as Arc<dyn Coordination>);
        assert_eq!(numbers(&next, under).await, all);
        for number in 40..2_000 {
            next.take(&hook(number));
            if number % 100 == 0 {
                next.write(under).await;
            }
        }
        next.write(under).await;
        let kept = numbers(&next, under).await;
        assert!((800..1_100).contains(&kept.len()), "{}", kept.len());
        let newest: Vec<usize> = (2_000 - kept.len()..2_000).collect();
        assert_eq!(kept, newest, "the newest, in order");
        let anew = RunId::generate();
        next.take(&hook(7));
        next.write(anew).await;
        assert_eq!(numbers(&next, anew).await, [7]);
        let parts = store.submission(under).await.unwrap();
        assert_eq!(parts.len() as u64, PARTS);
        assert!(parts.iter().all(|part| part.len() <= PART_BYTES + 10));
    }

    #[tokio::test]
    async fn what_ledgers_say_is_not_noted() {
        let store = Arc::new(Embedded::default());
        let under = RunId::generate();
        let notes = Notes::new(Arc::clone(&store) as Arc<dyn Coordination>);
        for (what, outcome) in [
            ("upgrade", "prepared"),
            ("commit", "committed"),
            ("upgrade", "failed"),
        ] {
            notes.take(&Done {
                what: what.to_owned(),
                outcome: outcome.to_owned(),
                ..hook(1)
            });
        }
        notes.write(under).await;
        assert!(store.submissions().await.unwrap().is_empty());
        let current = Done {
            what: "upgrade".to_owned(),
            outcome: "current".to_owned(),
            ..hook(1)
        };
        notes.take(&current);
        notes.write(under).await;
        let all = notes.all(under).await.unwrap();
        assert_eq!(all.len(), 1);
        assert!(all[0].output.iter().all(|line| line.len() == LINE));
    }
}
