//! Who is let in: the coordinator that leads takes what comes; the others say where it is.

use tokio::sync::watch;
use tonic::{Status, metadata::MetadataValue};
use upshift_worker::link::LEADER;

/// Whether this process takes what comes, and what takes it.
#[derive(Debug, Clone)]
pub enum Door<T> {
    /// It does.
    Open(T),
    /// Another one leads, or nobody does at present.
    Closed {
        /// By what URL that one is reached, if that is known.
        leader: Option<String>,
    },
}

/// The door as those see it who come.
#[derive(Debug)]
pub struct Entrance<T>(watch::Receiver<Door<T>>);

impl<T> Clone for Entrance<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> Entrance<T> {
    /// A door that somebody else opens and closes.
    #[must_use]
    pub fn new(door: watch::Receiver<Door<T>>) -> Self {
        Self(door)
    }

    /// One that is always open.
    #[must_use]
    pub fn always(to: T) -> Self {
        Self(watch::channel(Door::Open(to)).1)
    }

    /// What takes it.
    ///
    /// # Errors
    /// `UNAVAILABLE` where another one leads.
    pub fn enter(&self) -> Result<T, Status> {
        match &*self.0.borrow() {
            Door::Open(to) => Ok(to.clone()),
            Door::Closed { leader } => Err(elsewhere(leader.as_deref())),
        }
    }
}

fn elsewhere(leader: Option<&str>) -> Status {
    let Some(leader) = leader else {
        return Status::unavailable("no coordinator leads at present: try again in some seconds");
    };
    let mut status = Status::unavailable(format!("this coordinator does not lead: {leader} does"));
    if let Ok(value) = MetadataValue::try_from(leader) {
        status.metadata_mut().insert(LEADER, value);
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_door_tells_where_to_go() {
        let (door, entrance) = watch::channel(Door::Closed {
            leader: Some("https://10.0.0.5:7432".to_owned()),
        });
        let entrance = Entrance::<u32>::new(entrance);
        let refused = entrance.enter().expect_err("it is closed");
        let leader = refused.metadata().get(LEADER).expect("it is told");
        assert_eq!(leader, "https://10.0.0.5:7432");
        door.send_replace(Door::Open(7));
        assert_eq!(entrance.enter().expect("it is open"), 7);
        door.send_replace(Door::Closed { leader: None });
        let refused = entrance.enter().expect_err("it is closed again");
        assert!(refused.metadata().get(LEADER).is_none());
    }
}
