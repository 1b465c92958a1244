//! The OpenAPI document, made from the handlers. Limits that are settings come from the settings: the types that
//! read bodies and query strings say what they accept.

use actix_web::HttpResponse;
use actix_web::web::Data;
use serde_json::{Value, json};
use utoipa::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Deprecated, Ref, RefOr, Response, ResponseBuilder, Schema};

use super::conversations::HistoryParams;
use super::memory::SharedJson;
use super::messages::SearchParams;
use super::users::UserListParams;
use super::{accounts, asyncapi, compat, conversations, export, messages, operations, sessions, users};
use crate::app::App;
use crate::commands::chat_list::ListConversations;
use crate::config::Limits;
use crate::model::{ClientMessageId, Content, Email, LoginUsername, MAX_ID, MessageId, Password, PersonName, Username};
use crate::wire::params::{Fields, Param, ParamsSchema};
use crate::wire::schema::{INTEGER, inline_integers, require_nullable_keys};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Hark",
        description = "Accounts over HTTP. Messages are sent over the WebSocket at `/`: see docs/frames.md."
    ),
    paths(
        accounts::sign_up,
        sessions::log_in,
        sessions::refresh,
        sessions::log_out,
        sessions::list,
        sessions::end,
        accounts::read,
        accounts::change,
        accounts::delete,
        accounts::change_password,
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
        asyncapi::asyncapi_document,
        compat::sign_up,
        compat::log_in,
        compat::update_profile,
        compat::change_password,
        compat::destroy_profile,
        compat::list_users,
    ),
    tags((name = "compat", description = "Paths for clients of the protocol's first server, which answer as it did. New clients call /api/v1.")),
)]
struct Document;

/// The document of a server with these limits. `hark openapi` prints it, and `openapi/openapi.json` is the one of
/// the default limits.
#[must_use]
pub fn openapi(limits: &Limits) -> utoipa::openapi::OpenApi {
    let mut document = Document::openapi();
    add_security(&mut document);
    add_common_errors(&mut document, limits);
    limit_query_parameters(&mut document, limits);
    limit_bodies(&mut document, limits);
    limit_ids(&mut document);
    complete_response_schemas(&mut document);
    close_bodies(&mut document);
    deprecate_compat(&mut document);
    document
}

/// The document of this server, once it was requested.
#[derive(Debug, Default)]
pub(super) struct OpenapiDocument(SharedJson);

/// The OpenAPI document, with the limits of this server.
pub(super) async fn openapi_document(app: Data<App>, document: Data<OpenapiDocument>) -> HttpResponse {
    document.0.respond(|| openapi(&app.config.limits))
}

fn add_security(document: &mut utoipa::openapi::OpenApi) {
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    document.components.get_or_insert_default().add_security_scheme("bearer", SecurityScheme::Http(scheme));
}

/// Adds the errors that every operation of a kind has: the rate limit of a user, the size limit of a body, and
/// overload.
fn add_common_errors(document: &mut utoipa::openapi::OpenApi, limits: &Limits) {
    for operation in operations(document) {
        let (is_authenticated, has_body) = (operation.security.is_some(), operation.request_body.is_some());
        let responses = &mut operation.responses.responses;
        if is_authenticated {
            responses.insert("429".to_owned(), error("Too many requests of one user; see Retry-After").into());
        }
        if has_body {
            let description = format!("The body is longer than {} bytes", limits.max_frame_bytes);
            responses.insert("413".to_owned(), error(&description).into());
        }
        if is_authenticated || has_body {
            let description = "The server is overloaded, or the database is not available; try again later";
            responses.insert("503".to_owned(), error(description).into());
        }
    }
}

/// Gives each query parameter the schema of the type that reads it.
fn limit_query_parameters(document: &mut utoipa::openapi::OpenApi, limits: &Limits) {
    let default_rows = Fields::of_query(&[], limits).limit().expect("no limit is given, so none is refused");
    let queries = [
        ("listConversations", ParamsSchema::of::<ListConversations>(limits), default_rows),
        ("listMessages", ParamsSchema::of::<HistoryParams>(limits), default_rows),
        ("searchMessages", ParamsSchema::of::<SearchParams>(limits), default_rows),
        ("listUsers", ParamsSchema::of::<UserListParams>(limits), default_rows),
        ("compatListUsers", ParamsSchema::of::<UserListParams>(limits), limits.max_page_rows),
    ];
    for (id, accepted, default_rows) in queries {
        let mut accepted = accepted.into_schema();
        accepted["properties"]["limit"]["default"] = json!(default_rows);
        let has_id = |operation: &&mut Operation| operation.operation_id.as_deref() == Some(id);
        let parameters = operations(document).find(has_id).and_then(|operation| operation.parameters.as_mut());
        for parameter in parameters.into_iter().flatten() {
            if let RefOr::T(parameter) = parameter
                && let Some(schema) = &mut parameter.schema
            {
                restrict(schema, &accepted["properties"][&parameter.name]);
            }
        }
    }
}

/// Gives the fields of request bodies the schemas of the types that read them.
fn limit_bodies(document: &mut utoipa::openapi::OpenApi, limits: &Limits) {
    let email = Email::schema(limits);
    let (username, typed_username) = (Username::schema(limits), LoginUsername::schema(limits));
    let (name, password) = (PersonName::schema(limits), Password::schema(limits));
    let fields = [
        ("SignUp", "email", &email),
        ("SignUp", "username", &username),
        ("SignUp", "password", &password),
        ("SignUp", "firstName", &name),
        ("SignUp", "lastName", &name),
        ("SignIn", "email", &email),
        ("SignIn", "username", &typed_username),
        ("ProfileChange", "email", &email),
        ("ProfileChange", "username", &username),
        ("ProfileChange", "firstName", &name),
        ("ProfileChange", "lastName", &name),
        ("ChangePassword", "newPassword", &password),
        ("OutgoingMessage", "content", &Content::schema(limits)),
        ("OutgoingMessage", "clientMessageId", &ClientMessageId::schema(limits)),
        ("OutgoingMessage", "replyTo", &MessageId::schema(limits)),
    ];
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for (body, field, accepted) in fields {
        if let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut(body)
            && let Some(property) = schema.properties.get_mut(field)
        {
            restrict(property, accepted);
        }
    }
}

/// The schemas of what clients send.
const REQUEST_BODIES: [&str; 5] = ["SignUp", "SignIn", "ProfileChange", "ChangePassword", "OutgoingMessage"];

/// The keywords of a schema that say which values are accepted.
const RESTRICTIONS: [&str; 7] = ["minLength", "maxLength", "pattern", "minimum", "maximum", "enum", "default"];

/// Copies the restrictions of `accepted` to a schema, whose type, example and description stay. A description of
/// `accepted` follows the one of the schema.
fn restrict(schema: &mut RefOr<Schema>, accepted: &Value) {
    let Some(accepted) = accepted.as_object() else { return };
    let Ok(Value::Object(mut json)) = serde_json::to_value(&*schema) else { return };
    let copied = RESTRICTIONS.iter().filter_map(|name| Some(((*name).to_owned(), accepted.get(*name)?.clone())));
    json.extend(copied);
    if let Some(limit) = accepted.get("description").and_then(Value::as_str) {
        let description = json.get("description").and_then(Value::as_str).map(|own| format!("{own}\n\n{limit}"));
        json.insert("description".to_owned(), description.unwrap_or_else(|| limit.to_owned()).into());
    }
    *schema = from_json(json.into());
}

fn from_json(json: Value) -> RefOr<Schema> {
    serde_json::from_value(json).expect("a schema with more restrictions is a schema")
}

/// Ids, page numbers and `seq` end where JSON readers no longer hold an integer exactly.
fn limit_ids(document: &mut utoipa::openapi::OpenApi) {
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

/// Makes nullable keys of what the server writes required, and inlines integers. A key that a request body leaves
/// out is like null.
fn complete_response_schemas(document: &mut utoipa::openapi::OpenApi) {
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for (_, schema) in schemas.iter_mut().filter(|(name, _)| !REQUEST_BODIES.contains(&name.as_str())) {
        if let Ok(mut json) = serde_json::to_value(&*schema) {
            require_nullable_keys(&mut json);
            inline_integers(&mut json);
            *schema = from_json(json);
        }
    }
    schemas.remove(INTEGER);
}

/// Closes the bodies whose unknown fields `Fields::only` refuses, because a misspelt one would be lost, and adds
/// `userEmail`, by which clients of the first server know `email`.
fn close_bodies(document: &mut utoipa::openapi::OpenApi) {
    let schemas = &mut document.components.get_or_insert_default().schemas;
    for name in ["ProfileChange", "ChangePassword"] {
        if let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut(name) {
            schema.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
        }
    }
    for name in ["ProfileChange", "SignIn", "SignUp"] {
        if let Some(RefOr::T(Schema::Object(schema))) = schemas.get_mut(name)
            && let Some(email) = schema.properties.get("email").cloned()
        {
            schema.properties.insert("userEmail".to_owned(), email);
        }
    }
}

/// Marks the paths of old clients as deprecated.
fn deprecate_compat(document: &mut utoipa::openapi::OpenApi) {
    let is_compat = |operation: &&mut Operation| operation.tags.iter().flatten().any(|tag| tag == "compat");
    for operation in operations(document).filter(is_compat) {
        operation.deprecated = Some(Deprecated::True);
    }
}

/// All operations of all paths.
fn operations(document: &mut utoipa::openapi::OpenApi) -> impl Iterator<Item = &mut Operation> {
    document.paths.paths.values_mut().flat_map(|path| {
        let PathItem { get, put, post, delete, patch, .. } = path;
        [get, put, post, delete, patch].into_iter().filter_map(Option::as_mut)
    })
}

/// An error response.
fn error(description: &str) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    ResponseBuilder::new().description(description).content("application/json", body).build()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::config::Cli;

    fn document(arguments: &[&str]) -> Value {
        let limits = Cli::parse_from([&["hark"], arguments].concat()).config.limits;
        serde_json::to_value(openapi(&limits)).expect("a document is plain JSON")
    }

    fn parameter<'a>(document: &'a Value, path: &str, name: &str) -> &'a Value {
        let parameters = document["paths"][path]["get"]["parameters"].as_array().expect("parameters");
        &parameters.iter().find(|parameter| parameter["name"] == name).expect("a parameter of this name")["schema"]
    }

    const LISTS: [&str; 5] = [
        "/api/v1/conversations",
        "/api/v1/conversations/{kind}/{id}/messages",
        "/api/v1/messages/search",
        "/api/v1/users",
        "/users/list",
    ];

    #[test]
    fn openapi_has_the_default_limits() {
        let document = document(&[]);
        for path in LISTS {
            let limit = parameter(&document, path, "limit");
            let default = if path == "/users/list" { 100 } else { 20 };
            assert_eq!([&limit["minimum"], &limit["maximum"], &limit["default"]], [1, 100, default], "{path}");
        }
        let schemas = &document["components"]["schemas"];
        for password in
            [&schemas["SignUp"]["properties"]["password"], &schemas["ChangePassword"]["properties"]["newPassword"]]
        {
            assert_eq!([&password["minLength"], &password["maxLength"]], [8, 128], "{password}");
        }
        let content = schemas["OutgoingMessage"]["properties"]["content"]["description"].as_str();
        assert!(content.is_some_and(|text| text.contains("16384 bytes")), "{content:?}");
        assert_eq!(schemas["SignUp"]["properties"]["username"]["maxLength"], 64);
        assert_eq!(parameter(&document, "/api/v1/messages/search", "q")["maxLength"], 254);
    }

    #[test]
    fn openapi_takes_its_limits_from_the_settings() {
        let document = document(&[
            "--max-page-rows=17",
            "--min-password-chars=11",
            "--max-password-chars=71",
            "--max-content-bytes=4321",
            "--max-frame-bytes=40123",
        ]);
        for path in LISTS {
            let limit = parameter(&document, path, "limit");
            assert_eq!([&limit["maximum"], &limit["default"]], [17, 17], "{path}");
        }
        let schemas = &document["components"]["schemas"];
        for password in
            [&schemas["SignUp"]["properties"]["password"], &schemas["ChangePassword"]["properties"]["newPassword"]]
        {
            assert_eq!([&password["minLength"], &password["maxLength"]], [11, 71], "{password}");
        }
        let text = document.to_string();
        assert!(text.contains("1 to 4321 bytes") && text.contains("longer than 40123 bytes"));
        // Nothing is left of the defaults, in whichever way it may be written.
        for default in ["16384", "16,384", "65536", "65,536", "8 to 128", "\"minLength\":8,", "\"maximum\":100}"] {
            assert!(!text.contains(default), "{default} is written in");
        }
    }
}
