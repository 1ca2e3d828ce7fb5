//! What transactions answer with, and values as they are kept.

use etcd_client::{KeyValue, TxnOpResponse, TxnResponse};
use serde::{Serialize, de::DeserializeOwned};
use upshift_shared::{Error, Result};

/// The first key behind all that begin so. Ours are ASCII: the last character has a next one.
pub(super) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    end
}

/// The pairs that a transaction has read.
pub(super) fn pairs(answer: &TxnResponse) -> Vec<KeyValue> {
    let all = answer.op_responses().into_iter().flat_map(|op| match op {
        TxnOpResponse::Get(mut found) => found.take_kvs(),
        _ => Vec::new(),
    });
    all.collect()
}

/// The first of them.
pub(super) fn first(answer: &TxnResponse) -> Option<KeyValue> {
    pairs(answer).into_iter().next()
}

/// The revision of the store that an answer was given at.
pub(super) fn revision(answer: &TxnResponse) -> i64 {
    answer
        .header()
        .map_or(0, etcd_client::ResponseHeader::revision)
}

/// As it is kept.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("what is kept in etcd is plain data")
}

/// What is kept there.
pub(super) fn decode<T: DeserializeOwned>(pair: &KeyValue) -> Result<T> {
    serde_json::from_slice(pair.value()).map_err(|error| {
        let key = String::from_utf8_lossy(pair.key());
        Error::Format(format!(
            "etcd holds at {key} what this program cannot read: {error}"
        ))
    })
}
