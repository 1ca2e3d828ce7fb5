//! `/metrics` for Prometheus, over plain HTTP, and `/healthz` for whoever only asks whether the process
//! lives.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get,
};
use upshift_shared::{Error, Result};

use crate::{
    engine::Load,
    metrics::Metrics,
    server::{Entrance, Leader, refuse_plain},
};

/// What OpenMetrics calls its text format.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Sources = (Arc<Metrics>, Entrance<Arc<dyn Leader>>);

/// Begins to listen; what is returned serves for ever.
///
/// # Errors
/// Where it may not listen there, or cannot.
pub(super) async fn serve(
    address: SocketAddr,
    insecure: bool,
    sources: Sources,
) -> Result<impl Future<Output = ()>> {
    refuse_plain(address, insecure, "metrics")?;
    let io = |source| Error::Io {
        context: format!("listening on {address} for metrics"),
        source,
    };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(io)?;
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .with_state(sources);
    Ok(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    })
}

async fn metrics(State((metrics, leader)): State<Sources>) -> impl IntoResponse {
    let text = match leader.enter() {
        Ok(leader) => leader.figures().await.ok(),
        Err(_) => None,
    };
    let text = text.unwrap_or_else(|| metrics.text(Load::default(), 0));
    ([(CONTENT_TYPE, FORMAT)], text)
}
