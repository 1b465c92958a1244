//! The OpenAPI document, made from the handlers.

use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Deprecated, Ref, RefOr, Response, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

use super::{auth, compat, conversations, export, landing, me, messages, operations, users};
use crate::model::MAX_ID;

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
        landing::socket_document,
        compat::sign_up,
        compat::log_in,
        compat::update_profile,
        compat::change_password,
        compat::destroy_profile,
        compat::list_users,
    ),
    tags((name = "compat", description = "Paths for clients of the protocol's first server, which answer as it did. New clients call /api/v1.")),
    modifiers(&Bearer, &LargestInteger, &NoOtherFields, &Compat)
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
        let is_for_users = |operation: &&mut Operation| operation.security.is_some();
        for operation in operations(document).filter(is_for_users) {
            let too_often = refusal("Too many requests of one user; see Retry-After");
            operation.responses.responses.insert("429".to_owned(), too_often.into());
        }
        let may_wait = |operation: &&mut Operation| operation.security.is_some() || operation.request_body.is_some();
        for operation in operations(document).filter(may_wait) {
            let overloaded = refusal("The server has too much to do, or no database; try again later");
            operation.responses.responses.insert("503".to_owned(), overloaded.into());
        }
    }
}

/// Ids, pages and places end where JSON readers no longer hold an integer exactly.
struct LargestInteger;

impl Modify for LargestInteger {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let parameters = operations(document).filter_map(|operation| operation.parameters.as_mut()).flatten();
        for parameter in parameters {
            if let RefOr::T(parameter) = parameter
                && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
                && schema.minimum.is_some()
            {
                schema.maximum.get_or_insert(utoipa::Number::Int(isize::try_from(MAX_ID).unwrap_or(isize::MAX)));
            }
        }
    }
}

/// Bodies in which a misspelt field would be lost: `Fields::only` refuses others. `userEmail` is none.
struct NoOtherFields;

impl Modify for NoOtherFields {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let schemas = &mut document.components.get_or_insert_default().schemas;
        for name in ["Change", "ChangePassword"] {
            if let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut(name) {
                schema.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
            }
        }
        // What clients of the first server call it.
        for name in ["Change", "LogIn", "SignUp"] {
            if let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut(name)
                && let Some(email) = schema.properties.get("email").cloned()
            {
                schema.properties.insert("userEmail".to_owned(), email);
            }
        }
    }
}

/// The old paths are there for those who call them already.
struct Compat;

impl Modify for Compat {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let is_old = |operation: &&mut Operation| operation.tags.iter().flatten().any(|tag| tag == "compat");
        for operation in operations(document).filter(is_old) {
            operation.deprecated = Some(Deprecated::True);
        }
    }
}

/// Every operation of every path.
fn operations(document: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|path| {
        let PathItem { get, put, post, delete, patch, .. } = path;
        [get, put, post, delete, patch].into_iter().filter_map(Option::as_mut)
    })
}

/// An error's body, and when it comes.
fn refusal(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}

/// The document; `hark openapi` prints it, and `openapi/openapi.json` is a copy.
#[must_use]
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}
