//! Routes for operators' tools: liveness, readiness, metrics.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use crate::app::App;
use crate::error::Error;

/// The status of this node.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    /// `ok`, always: any other status is an error.
    #[schema(example = "ok")]
    status: &'static str,
}

const OK: Json<Status> = Json(Status { status: "ok" });

/// Liveness: whether the process answers
#[utoipa::path(get, path = "/healthz", operation_id = "readHealth", tag = "operations", responses((status = 200, body = Status, description = "The process answers")))]
pub(super) async fn health() -> Json<Status> {
    OK
}

/// Readiness: whether the database can be written to and messages of the cluster arrive
#[utoipa::path(get, path = "/readyz", operation_id = "readReadiness", tag = "operations", responses(
    (status = 200, body = Status, description = "The node is ready"),
    (status = 503, body = ErrorBody, description = "The database cannot be reached or is read-only, or messages of the cluster do not arrive"),
))]
pub(super) async fn readiness(app: Data<App>) -> Result<Json<Status>, HttpError> {
    app.db.ping().await?;
    if app.config.cluster && !app.cluster.is_connected() {
        return Err(Error::unavailable("this node does not receive its own heartbeats").into());
    }
    Ok(OK)
}

/// Metrics of this node, for Prometheus
#[utoipa::path(get, path = "/metrics", operation_id = "readMetrics", tag = "operations", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text", description = "The metrics"),
))]
pub(super) async fn metrics(app: Data<App>) -> HttpResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    HttpResponse::Ok().insert_header(("content-type", content_type)).body(app.metrics.text())
}
