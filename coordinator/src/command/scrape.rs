//! `/metrics` for Prometheus, over plain HTTP, and `/healthz` for whoever only asks whether the process
//! lives.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use axum::{
    Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get,
};
use tokio::task::JoinSet;
use upshift_shared::{Error, Result};

use crate::server::refuse_plain;

/// What OpenMetrics calls its text format.
const FORMAT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is counted.
#[async_trait]
pub(super) trait Figures: Send + Sync {
    /// All of it as text.
    async fn text(&self) -> String;
}

#[async_trait]
impl Figures for upshift_worker::metrics::Metrics {
    async fn text(&self) -> String {
        Self::text(self)
    }
}

/// Serves them there, if anywhere. `insecure`: where others can listen, too.
///
/// # Errors
/// Where it may not listen there, or cannot.
pub(super) async fn serve(
    (address, insecure): (Option<SocketAddr>, bool),
    figures: Arc<dyn Figures>,
    background: &mut JoinSet<()>,
) -> Result<()> {
    let Some(address) = address else {
        return Ok(());
    };
    refuse_plain(address, insecure, "metrics")?;
    let io = |source| Error::Io {
        context: format!("listening on {address} for metrics"),
        source,
    };
    let listener = tokio::net::TcpListener::bind(address).await.map_err(io)?;
    let bound = listener.local_addr().map_err(io)?;
    println!("metrics are served on http://{bound}/metrics");
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .with_state(figures);
    background.spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(())
}

async fn metrics(State(figures): State<Arc<dyn Figures>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, FORMAT)], figures.text().await)
}
