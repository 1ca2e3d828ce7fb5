//! Keys that are read: one, or all below a prefix, page by page.

use etcd_client::{GetOptions, KeyValue, Txn, TxnOp};
use serde::de::DeserializeOwned;
use upshift_shared::Result;

use super::{Etcd, PAGE, decode, end_of, pairs};

impl Etcd {
    pub(super) async fn get(
        &self,
        key: String,
        options: Option<GetOptions>,
    ) -> Result<Vec<KeyValue>> {
        let txn = Txn::new().and_then([TxnOp::get(key, options)]);
        let answer = self.txn(txn, "reading keys").await?;
        Ok(pairs(&answer))
    }

    /// All keys below `prefix`, as values of JSON.
    pub(super) async fn all<T: DeserializeOwned>(&self, prefix: String) -> Result<Vec<T>> {
        let found = self.below(prefix, (PAGE, false)).await?;
        found.iter().map(decode).collect()
    }

    /// All keys below `prefix`, in pages: an answer may have 4 MiB.
    pub(super) async fn below(
        &self,
        prefix: String,
        (page, keys_only): (usize, bool),
    ) -> Result<Vec<KeyValue>> {
        let mut all = Vec::new();
        let mut from = prefix.clone();
        loop {
            let mut options = GetOptions::new()
                .with_range(end_of(&prefix))
                .with_limit(page as i64);
            if keys_only {
                options = options.with_keys_only();
            }
            let mut found = self.get(from, Some(options)).await?;
            let read = found.len();
            all.append(&mut found);
            let Some(last) = all.last().filter(|_| read == page) else {
                return Ok(all);
            };
            // The next key that there can be.
            from = format!("{}\0", String::from_utf8_lossy(last.key()));
        }
    }
}
