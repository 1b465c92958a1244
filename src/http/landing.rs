//! What a browser sees: the landing page, Swagger UI, and the documents of the interfaces. Each is in memory
//! once, whoever asks for it.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock};

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ContentType, LOCATION};
use actix_web::web::{Bytes, Data, Path};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use utoipa_swagger_ui::{Config, serve};

use super::asyncapi::asyncapi;
use super::memory::SharedBytes;
use super::openapi::document;
use crate::app::App;

const LANDING_PAGE: &str = include_str!("../../web/index.html");

/// What the landing page may do: its own style and script, and what somebody pastes into its console: requests
/// to its own server, and a socket, which not every browser takes for `'self'`.
static LANDING_POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (hash_of("style"), hash_of("script"));
    format!(
        "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self' ws: wss:; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// What Swagger UI may do: its own files, requests to its own server, pictures and styles that its scripts make.
const SWAGGER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// The one element of this name in the landing page, as a policy names it.
fn hash_of(element: &str) -> String {
    let inside = LANDING_PAGE.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once("</"));
    let text = inside.map_or("", |(text, _)| text);
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// The documents of this server.
#[derive(Debug, Default)]
pub(super) struct Documents {
    openapi: OnceLock<Bytes>,
    asyncapi: OnceLock<Bytes>,
    swagger: Mutex<HashMap<String, File>>,
}

/// A file of Swagger UI.
#[derive(Clone, Debug)]
struct File {
    bytes: Bytes,
    content_type: String,
    is_gzipped: bool,
}

/// Until the web client is here: where to go, and a first conversation to paste.
pub(super) async fn first_conversation() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, LANDING_POLICY.as_str()))
        .body(LANDING_PAGE)
}

pub(super) async fn to_swagger_ui() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/api/")).finish()
}

/// A file of Swagger UI, or its page.
pub(super) async fn swagger_ui(name: Path<String>, documents: Data<Documents>) -> HttpResponse {
    let Some(file) = documents.swagger_file(&name) else { return super::nothing_here().await };
    let mut response = HttpResponse::Ok();
    response.content_type(file.content_type).insert_header((CONTENT_SECURITY_POLICY, SWAGGER_POLICY));
    if file.is_gzipped {
        response.insert_header((CONTENT_ENCODING, "gzip"));
    }
    shared(response.body(file.bytes))
}

pub(super) async fn openapi_document(documents: Data<Documents>) -> HttpResponse {
    let json = documents.openapi.get_or_init(|| to_json(&document()));
    shared(HttpResponse::Ok().content_type(ContentType::json()).body(json.clone()))
}

/// The socket's frames, as an AsyncAPI document
#[utoipa::path(get, path = "/api/asyncapi.json", operation_id = "readAsyncapi", tag = "operations", responses(
    (status = 200, body = Object, description = "Done"),
))]
pub(super) async fn socket_document(app: Data<App>, documents: Data<Documents>) -> HttpResponse {
    let json = documents.asyncapi.get_or_init(|| to_json(&asyncapi(&app.config.limits)));
    shared(HttpResponse::Ok().content_type(ContentType::json()).body(json.clone()))
}

impl Documents {
    fn swagger_file(&self, name: &str) -> Option<File> {
        let mut files = self.swagger.lock();
        if let Some(file) = files.get(name) {
            return Some(file.clone());
        }
        let config = Config::new(["/api/openapi.json"]).validator_url("none");
        let file = serve(name, Arc::new(config)).ok().flatten()?;
        let bytes = match file.bytes {
            Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        let file = File { bytes, content_type: file.content_type, is_gzipped: file.gzpipped };
        files.insert(name.to_owned(), file.clone());
        Some(file)
    }
}

fn to_json(document: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(document).expect("a document has string keys").into()
}

fn shared(mut response: HttpResponse) -> HttpResponse {
    response.extensions_mut().insert(SharedBytes);
    response
}
