//! The plan of a fleet for whoever means to submit it: made where its databases are reached, and nothing of it
//! is kept.

use std::sync::Arc;

use super::{
    super::{
        super::{Failure, compiling, fleet::ToPlan},
        leader::Leading,
    },
    submission,
};
use crate::server::FleetUpload;

impl Leading {
    /// What every database of a fleet would get, as JSON; what a submission is refused for this is, too.
    pub(in super::super) async fn planned_fleet(
        self: &Arc<Self>,
        upload: FleetUpload,
    ) -> Result<String, Failure> {
        let FleetUpload { head, order, pack } = upload;
        let order = submission::order(&order, &head.file)?;
        self.refuse_hooks(&order)?;
        self.refuse_unknown(&order)?;
        self.refuse_options(&head.options)?;
        let loaded = tokio::task::block_in_place(|| compiling::load(pack.folder()))?;
        // It was read.
        drop(pack);
        let config = Arc::new(tokio::task::block_in_place(|| self.config())?);
        let known = self.fleets.get(&order.name).ok();
        let place = known.map(|known| known.look(|entry| entry.place.clone()));
        let to_plan = ToPlan {
            order,
            pack: loaded,
            place: place.unwrap_or_default(),
            workers: Some(head.workers).filter(|workers| *workers > 0),
        };
        let planned = Box::pin(to_plan.plan(config, |_, _| {}));
        let planned = self.leaving().run_until_cancelled(planned).await;
        let planned = planned.unwrap_or_else(|| {
            let why = "another coordinator is to lead, and makes the plan";
            Err(Failure::failed(why).passing())
        })?;
        Ok(serde_json::to_string(&planned).expect("it is plain data"))
    }
}
