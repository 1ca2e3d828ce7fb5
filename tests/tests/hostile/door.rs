//! Too much of what is allowed: requests, watchers, packs that do not come.

use anyhow::{Context, Result, ensure};
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use upshift_proto::v1::{StatusRequest, SubmitOrder, SubmitPart, WatchRequest, submit_part::Part};
use upshift_tests::eventually_async;

use crate::rig::{DEADLINE, Rig};

/// What was answered; `None` where there is no place for it now.
fn has_place<T>(answer: Result<T, Status>) -> Result<Option<T>> {
    match answer {
        Err(status) if status.code() == Code::ResourceExhausted => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

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
async fn watchers_are_counted() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let mut watching = Vec::new();
    let mut turned_away = 0;
    for from in 10..18 {
        for _ in 0..50 {
            let mut operator = rig.operator(from).await?;
            match has_place(operator.watch(WatchRequest::default()).await)? {
                Some(events) => watching.push(events),
                None => turned_away += 1,
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
    let operator = rig.operator(20).await?;
    eventually_async("another one may watch", DEADLINE, async || {
        let events = operator.clone().watch(WatchRequest::default()).await;
        Ok(has_place(events)?.is_some())
    })
    .await?;
    rig.end().await?;
    Ok(())
}

#[tokio::test]
async fn packs_that_do_not_come_are_counted() -> Result<()> {
    let mut rig = Rig::new("").await?;
    let order = SubmitOrder {
        run: "01900000-0000-7000-8000-000000000000".to_owned(),
        database: "erp".to_owned(),
        options: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let mut held = Vec::new();
    let mut calls = JoinSet::new();
    for _ in 0..20 {
        let mut operator = rig.operator(21).await?;
        let (parts, sent) = mpsc::channel(1);
        let part = Some(Part::Order(order.clone()));
        parts.send(SubmitPart { part }).await?;
        held.push(parts);
        calls.spawn(async move { operator.submit(ReceiverStream::new(sent)).await });
    }
    for _ in 0..4 {
        let ended = timeout(DEADLINE, calls.join_next()).await?;
        let answer = ended.expect("there are 20")?;
        ensure!(has_place(answer)?.is_none(), "there are too many");
    }
    rig.is_well("packs that do not come").await?;
    let ended = calls.try_join_next();
    ensure!(ended.is_none(), "the others are waited for: {ended:?}");
    calls.shutdown().await;
    drop(held);
    let operator = rig.operator(21).await?;
    eventually_async("another pack may come", DEADLINE, async || {
        // Without an order it is refused, where there is a place for it.
        let answer = operator.clone().submit(tokio_stream::empty()).await;
        let status = answer.err().context("it is no pack")?;
        ensure!(
            [Code::ResourceExhausted, Code::InvalidArgument].contains(&status.code()),
            "{status:?}"
        );
        Ok(status.code() == Code::InvalidArgument)
    })
    .await?;
    rig.end().await?;
    Ok(())
}
