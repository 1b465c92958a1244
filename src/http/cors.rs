//! CORS: which pages of other origins browsers let use this server.

use actix_cors::Cors;
use actix_web::http::header::RETRY_AFTER;

use crate::config::Config;

/// For how many seconds a browser keeps the answer to a preflight request.
const MAX_AGE_SECONDS: usize = 3600;

/// The middleware that answers preflight requests and names the allowed origins, which are those of
/// `HARK_ALLOWED_ORIGINS`. Without any, pages of the server's own origin are the only ones.
pub fn cors(config: &Config) -> Cors {
    let cors = Cors::default()
        .allowed_methods(["GET", "POST", "PUT", "PATCH", "DELETE"])
        .allow_any_header()
        .expose_headers([RETRY_AFTER])
        .max_age(MAX_AGE_SECONDS);
    if config.origins().any(|origin| origin == "*") {
        return cors.allow_any_origin();
    }
    config.origins().fold(cors, Cors::allowed_origin)
}
