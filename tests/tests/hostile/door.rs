//! Too much of what is allowed: requests, watchers, packs that do not come.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use upshift_proto::v1::{StatusRequest, SubmitOrder, SubmitPart, WatchRequest, submit_part::Part};

use crate::rig::Rig;

#[tokio::test]
async fn who_asks_too_often_is_told_to_wait() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let mut refused = 0;
    let mut operator = rig.operator(2).await?;
    for _ in 0..400 {
        let answer = operator.status(StatusRequest::default()).await;
        if let Err(status) = answer {
            ensure!(status.code() == Code::ResourceExhausted, "{status:?}");
            ensure!(status.message().contains("wait a second"), "{status:?}");
            refused += 1;
        }
    }
    ensure!(refused > 100, "{refused} of 400");
    rig.is_well("a flood of requests").await?;
    rig.end().await?;
    Ok(())
}

#[tokio::test]
async fn watchers_and_packs_on_their_way_are_counted() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let mut watching = Vec::new();
    let mut turned_away = 0;
    for from in 10..18 {
        for _ in 0..50 {
            let mut operator = rig.operator(from).await?;
            match operator.watch(WatchRequest::default()).await {
                Ok(events) => watching.push(events),
                Err(status) => {
                    ensure!(status.code() == Code::ResourceExhausted, "{status:?}");
                    turned_away += 1;
                }
            }
        }
    }
    ensure!(
        (watching.len(), turned_away) == (256, 144),
        "{} {turned_away}",
        watching.len()
    );
    rig.is_well("watchers").await?;
    drop(watching);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let again = rig.operator(20).await?.watch(WatchRequest::default()).await;
    ensure!(again.is_ok(), "they are gone: {:?}", again.err());
    // Packs of which nothing more comes.
    let order = SubmitOrder {
        run: "01900000-0000-7000-8000-000000000000".to_owned(),
        database: "erp".to_owned(),
        options: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut held = Vec::new();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let mut operator = rig.operator(21).await?;
        let (parts, sent) = mpsc::channel(1);
        let part = Some(Part::Order(order.clone()));
        parts.send(SubmitPart { part }).await?;
        held.push(parts);
        calls.spawn(async move { operator.submit(ReceiverStream::new(sent)).await });
    }
    for _ in 0..4 {
        let ended = tokio::time::timeout(Duration::from_secs(10), calls.join_next()).await?;
        let status = ended
            .expect("there are 20")?
            .expect_err("there are too many");
        ensure!(status.code() == Code::ResourceExhausted, "{status:?}");
    }
    rig.is_well("packs that do not come").await?;
    ensure!(calls.len() == 16, "the others are waited for");
    calls.shutdown().await;
    drop((held, again));
    tokio::time::sleep(Duration::from_millis(500)).await;
    rig.end().await?;
    Ok(())
}
