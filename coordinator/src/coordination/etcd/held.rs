//! A key that is held: it lives with the lease of this process, and is deleted when it is released or
//! dropped.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use etcd_client::{Client, Compare, PutOptions, Txn, TxnOp};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    background,
    lease::Lease,
    patience::{authenticates_again, is_passing},
};
use crate::coordination::Held;

/// A deletion that is not answered by then is sent again.
const DELETE_DEADLINE: Duration = Duration::from_secs(3);
/// How long after one that failed.
const DELETE_AGAIN: Duration = Duration::from_millis(300);
/// Whoever releases a key waits so long for the deletion, which goes on from the side.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);

/// A key of ours that is to be deleted.
pub(super) struct Return {
    pub(super) client: Arc<Client>,
    pub(super) lease: Arc<Lease>,
    pub(super) key: String,
    /// Says that the key is ours: that of somebody who came after is not deleted.
    pub(super) ours: Compare,
    /// What is written beside, so that no late copy of the request for the key takes it again.
    pub(super) spent: Option<String>,
}

impl Return {
    /// Deletes it, however long that takes: a key that stayed would be held as long as this process lives.
    /// When the lease does not hold any more the key is gone, or about to be.
    pub(super) async fn carry_out(self) {
        let spent = self.spent.map(|spent| {
            let with_lease = PutOptions::new().with_lease(self.lease.id);
            TxnOp::put(spent, "", Some(with_lease))
        });
        let delete = TxnOp::delete(self.key, None);
        let in_any_case: Vec<TxnOp> = spent.into_iter().collect();
        let if_ours: Vec<TxnOp> = std::iter::once(delete)
            .chain(in_any_case.iter().cloned())
            .collect();
        let txn = Txn::new()
            .when([self.ours])
            .and_then(if_ours)
            .or_else(in_any_case);
        while self.lease.holds() {
            match timeout(DELETE_DEADLINE, self.client.kv_client().txn(txn.clone())).await {
                Ok(Ok(_)) => return,
                Ok(Err(error))
                    if authenticates_again(&self.client, &error).await || is_passing(&error) =>
                {
                    sleep(DELETE_AGAIN).await;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a key is left to run out with its lease");
                    return;
                }
                Err(_) => sleep(DELETE_AGAIN).await,
            }
        }
        tracing::warn!("a key is left to run out with its lease: etcd did not answer in time");
    }
}

/// A key of ours.
pub(super) struct HeldKey {
    lease: Arc<Lease>,
    created: i64,
    /// `None` once it is under way.
    back: Option<Return>,
}

impl HeldKey {
    pub(super) fn new(back: Return, created: i64) -> Self {
        Self {
            lease: Arc::clone(&back.lease),
            created,
            back: Some(back),
        }
    }

    /// The revision at which it became ours.
    pub(super) fn created(&self) -> i64 {
        self.created
    }
}

#[async_trait]
impl Held for HeldKey {
    async fn lost(&self) -> String {
        self.lease.lost().await
    }

    async fn release(mut self: Box<Self>) {
        let Some(back) = self.back.take() else {
            return;
        };
        let (done, is_done) = oneshot::channel();
        background::spawn(async move {
            back.carry_out().await;
            // Nobody may wait for it any more.
            let _late = done.send(());
        });
        let _deleted_or_late = timeout(RELEASE_DEADLINE, is_done).await;
    }
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        if let Some(back) = self.back.take() {
            background::spawn(back.carry_out());
        }
    }
}
