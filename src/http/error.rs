//! Errors over HTTP: the table of status codes, and the body that all errors have. The upgrade (`ws/upgrade.rs`) and
//! old paths (`compat.rs`) have status codes of their own.

use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::{Code, Error, ErrorResponse};

/// An error to respond with. Its cause is logged already.
#[derive(Debug)]
pub(super) struct HttpError(ErrorResponse);

/// What an error's sentence puts before the name of a field. Unlike in frames, no `params` is around the fields
/// of a query string or a body.
const FIELD_PREFIX: &str = "";

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorBody<'a> {
    /// One sentence for a person, which names the field at fault.
    #[schema(example = "email is taken")]
    message: &'a str,
    /// The error code, for programs. Codes never change.
    #[schema(value_type = String, example = "conflict")]
    code: Code,
}

impl From<Error> for HttpError {
    fn from(error: Error) -> Self {
        Self(error.log_and_convert())
    }
}

impl std::fmt::Display for HttpError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.sentence(FIELD_PREFIX))
    }
}

impl ResponseError for HttpError {
    fn status_code(&self) -> StatusCode {
        match self.0.code {
            Code::BadJson | Code::BadFrame | Code::UnknownType | Code::BadParams => StatusCode::BAD_REQUEST,
            Code::Unauthorized => StatusCode::UNAUTHORIZED,
            Code::NotAMember | Code::NotAdmin | Code::NotAuthor | Code::Blocked => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::Conflict | Code::AlreadyAMember | Code::Oneself => StatusCode::CONFLICT,
            Code::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Code::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        if let Some(wait) = self.0.retry_after {
            // In whole seconds, rounded up so that no client retries too early.
            response.insert_header((RETRY_AFTER, (wait.as_secs() + 1).to_string()));
        }
        respond(response, &self.0.sentence(FIELD_PREFIX), self.0.code)
    }
}

/// An error response: a status, headers that may be set already, and the body.
pub(super) fn respond(mut response: HttpResponseBuilder, message: &str, code: Code) -> HttpResponse {
    response.json(ErrorBody { message, code })
}

/// The response to a path or a method without a route.
pub(super) async fn not_found() -> HttpResponse {
    let response = HttpResponseBuilder::new(StatusCode::NOT_FOUND);
    respond(response, "There is nothing at this path for this method", Code::NotFound)
}
