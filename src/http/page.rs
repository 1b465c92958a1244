//! What a browser sees.

use actix_web::HttpResponse;
use actix_web::http::header::{ContentType, LOCATION};

/// Until the web client is here: where to go, and a first conversation to paste.
pub(super) async fn first_conversation() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::html()).body(include_str!("../../web/index.html"))
}

pub(super) async fn to_swagger_ui() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/api/")).finish()
}
