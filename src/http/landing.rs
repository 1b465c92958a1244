//! What a browser shows: the landing page and Swagger UI. Each file is in memory once and shared by all requests.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ContentType, LOCATION};
use actix_web::web::{Bytes, Data, Path};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use utoipa_swagger_ui::{Config, serve};

use super::error::not_found;
use super::memory::share_bytes;

const LANDING_PAGE: &str = include_str!("../../web/index.html");

/// The content security policy of the landing page. It allows the page's own style and script, and what a reader
/// pastes into the browser's console: requests to this server, and a WebSocket, which not every browser counts
/// as `'self'`.
static LANDING_POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (hash_of("style"), hash_of("script"));
    format!(
        "default-src 'none'; style-src {style}; script-src {script}; connect-src 'self' ws: wss:; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// The content security policy of Swagger UI: its own files, requests to this server, and the images and styles
/// that its scripts create.
const SWAGGER_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'";

/// The hash of the one element of this name in the landing page, as a policy writes it.
fn hash_of(element: &str) -> String {
    let inside = LANDING_PAGE.split_once(&format!("<{element}>")).and_then(|(_, rest)| rest.split_once("</"));
    let text = inside.map_or("", |(text, _)| text);
    format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)))
}

/// The files of Swagger UI that were requested, by their names.
#[derive(Debug, Default)]
pub(super) struct SwaggerFiles(Mutex<HashMap<String, File>>);

/// A file of Swagger UI.
#[derive(Clone, Debug)]
struct File {
    bytes: Bytes,
    content_type: String,
    is_gzipped: bool,
}

/// The landing page: links, and a first conversation to paste into the console.
pub(super) async fn landing_page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, LANDING_POLICY.as_str()))
        .body(LANDING_PAGE)
}

/// Redirects to Swagger UI, whose links are relative to `/api/`.
pub(super) async fn redirect_to_swagger_ui() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/api/")).finish()
}

/// A file of Swagger UI, or its page.
pub(super) async fn swagger_ui(name: Path<String>, files: Data<SwaggerFiles>) -> HttpResponse {
    let Some(file) = files.find(&name) else { return not_found().await };
    let mut response = HttpResponse::Ok();
    response.content_type(file.content_type).insert_header((CONTENT_SECURITY_POLICY, SWAGGER_POLICY));
    if file.is_gzipped {
        response.insert_header((CONTENT_ENCODING, "gzip"));
    }
    share_bytes(response.body(file.bytes))
}

impl SwaggerFiles {
    fn find(&self, name: &str) -> Option<File> {
        let mut files = self.0.lock();
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
