//! What an operator's tools ask.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{ErrorBody, HttpError};
use crate::app::App;
use crate::error::Error;

#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    #[schema(example = "ok")]
    status: &'static str,
}

const OK: Json<Status> = Json(Status { status: "ok" });

/// Whether the process is alive
#[utoipa::path(get, path = "/healthz", operation_id = "readHealth", tag = "operations", responses((status = 200, body = Status, description = "Done")))]
pub(super) async fn health() -> Json<Status> {
    OK
}

/// Whether the database can be written to, and the other nodes heard
#[utoipa::path(get, path = "/readyz", operation_id = "readReadiness", tag = "operations", responses(
    (status = 200, body = Status, description = "Done"),
    (status = 503, body = ErrorBody, description = "The database cannot be reached or only be read, or the other nodes not heard"),
))]
pub(super) async fn readiness(app: Data<App>) -> Result<Json<Status>, HttpError> {
    app.db.ping().await?;
    if app.config.bus && !app.delivery.bus.is_heard() {
        return Err(Error::unavailable("this node does not hear what it says itself").into());
    }
    Ok(OK)
}

/// Counts, for Prometheus
#[utoipa::path(get, path = "/metrics", operation_id = "readMetrics", tag = "operations", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text", description = "Done"),
))]
pub(super) async fn metrics(app: Data<App>) -> HttpResponse {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    HttpResponse::Ok().insert_header(("content-type", content_type)).body(app.metrics.text())
}
