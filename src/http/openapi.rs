//! The OpenAPI document, made from the handlers.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{auth, conversations, export, me, messages, operations, users};

#[derive(OpenApi)]
#[openapi(
    info(title = "Hark", description = "Accounts over HTTP; messages go over the WebSocket at `/`, see docs/frames.md."),
    paths(
        auth::sign_up,
        auth::log_in,
        auth::refresh,
        auth::log_out,
        auth::sessions,
        auth::end_session,
        me::read,
        me::change,
        me::delete,
        me::change_password,
        export::download,
        users::list,
        users::read,
        conversations::list,
        conversations::read,
        conversations::messages,
        conversations::send,
        messages::search,
        operations::health,
        operations::readiness,
        operations::metrics,
        operations::socket_document,
    ),
    modifiers(&Bearer)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// The document; `hark openapi` prints it, and `openapi/openapi.json` is a copy.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
