//! A key that is held: it lives with the lease of this process, and is deleted when it is released or
//! dropped.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};
use tokio::time::timeout;

use super::{background, lease::Lease};
use crate::coordination::Held;

/// A deletion that takes longer is left to the lease.
const DELETE_DEADLINE: Duration = Duration::from_secs(5);

/// A key of ours.
pub(super) struct HeldKey {
    client: Arc<Client>,
    key: String,
    /// Which writing of the key is ours: that of somebody who came after is not deleted.
    created: i64,
    lease: Arc<Lease>,
    deleted: bool,
}

impl HeldKey {
    /// The revision at which it became ours.
    pub(super) fn created(&self) -> i64 {
        self.created
    }

    pub(super) fn new(client: Arc<Client>, key: String, created: i64, lease: Arc<Lease>) -> Self {
        Self {
            client,
            key,
            created,
            lease,
            deleted: false,
        }
    }

    fn deletion(&mut self) -> impl Future<Output = ()> + Send + 'static {
        self.deleted = true;
        let mut client = self.client.kv_client();
        let ours = Compare::create_revision(self.key.clone(), CompareOp::Equal, self.created);
        let delete = TxnOp::delete(self.key.clone(), None);
        let lease = Arc::clone(&self.lease);
        async move {
            let deleted = client.txn(Txn::new().when([ours]).and_then([delete]));
            match timeout(DELETE_DEADLINE, deleted).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "a key is left to run out with its lease"),
                Err(_) => tracing::warn!("a key is left to run out with its lease"),
            }
            drop(lease);
        }
    }
}

#[async_trait]
impl Held for HeldKey {
    async fn lost(&self) -> String {
        self.lease.lost().await
    }

    async fn release(mut self: Box<Self>) {
        self.deletion().await;
    }
}

impl Drop for HeldKey {
    fn drop(&mut self) {
        if !self.deleted {
            background::spawn(self.deletion());
        }
    }
}
