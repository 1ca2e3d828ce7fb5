//! A request for a key that nobody has. It may be sent more than once, and be given up: etcd may carry out
//! a copy of it long after, such as one that waited in a member that was cut off. Such a copy would take a
//! key for a process that does not know of it, for as long as that process lives. So every copy asks that
//! its token has not been spent, and a token is spent as soon as a copy may still be under way that
//! nobody waits for any more.

use std::sync::Arc;

use etcd_client::{Client, Compare, CompareOp};

use super::{
    background,
    held::{HeldKey, Return},
    lease::Lease,
};

/// A request for a key, until it is answered.
pub(super) struct Claim {
    client: Arc<Client>,
    key: String,
    /// The key that says that the token is spent.
    spent: String,
    /// What is written at the key; no other claim writes the same.
    record: Vec<u8>,
    lease: Arc<Lease>,
    /// How many copies have been sent.
    copies: u32,
    answered: bool,
}

impl Claim {
    pub(super) fn new(
        client: &Arc<Client>,
        key: String,
        spent: String,
        record: Vec<u8>,
        lease: Arc<Lease>,
    ) -> Self {
        Self {
            client: Arc::clone(client),
            key,
            spent,
            record,
            lease,
            copies: 0,
            answered: false,
        }
    }

    /// What a copy is conditional on: the key is free, and the token good.
    pub(super) fn conditions(&self) -> [Compare; 2] {
        [&self.key, &self.spent]
            .map(|key| Compare::create_revision(key.clone(), CompareOp::Equal, 0))
    }

    /// To be raised before each copy is sent.
    pub(super) fn copies(&mut self) -> &mut u32 {
        &mut self.copies
    }

    /// The key is ours since this revision.
    pub(super) fn granted(mut self, created: i64) -> HeldKey {
        self.answered = true;
        let back = Return {
            client: Arc::clone(&self.client),
            lease: Arc::clone(&self.lease),
            ours: Compare::create_revision(self.key.clone(), CompareOp::Equal, created),
            key: self.key.clone(),
            spent: (self.copies > 1).then(|| self.spent.clone()),
        };
        // What is left of the claim is the held key's to end.
        self.copies = 0;
        HeldKey::new(back, created)
    }

    /// It is somebody else's, or nobody may have it.
    pub(super) fn refused(mut self) {
        self.answered = true;
    }

    fn is_over(&self) -> bool {
        self.copies == 0 || (self.answered && self.copies == 1)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_over() {
            return;
        }
        let back = Return {
            client: Arc::clone(&self.client),
            lease: Arc::clone(&self.lease),
            ours: Compare::value(self.key.clone(), CompareOp::Equal, self.record.clone()),
            key: self.key.clone(),
            spent: Some(self.spent.clone()),
        };
        background::spawn(back.carry_out());
    }
}
