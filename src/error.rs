//! Errors: what the caller is told, as a code and a sentence, and the cause, which only the log gets.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The error code, for programs. Its spelling on the wire never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The frame or body is not JSON.
    BadJson,
    /// The frame is JSON, but not `{type, params, id}`.
    BadFrame,
    /// There is no such type.
    UnknownType,
    /// A parameter is missing or out of its range.
    BadParams,
    /// The thing does not exist, or the caller may not know of it.
    NotFound,
    /// Only members of the group may do this.
    NotAMember,
    /// The user is in the group already.
    AlreadyAMember,
    /// Only admins of the group may do this.
    NotAdmin,
    /// Only the author of the message may do this.
    NotAuthor,
    /// The receiver has blocked the caller.
    Blocked,
    /// Users cannot do this to themselves. The wire says `self`.
    #[serde(rename = "self")]
    Oneself,
    /// An e-mail or username is taken, or the change would break a rule of the group.
    Conflict,
    /// A rate limit; `retryAfterMs` is the time to wait.
    RateLimited,
    /// The body is over the size limit.
    TooLarge,
    /// The server is overloaded or the database is not available; the same request may succeed later.
    Overloaded,
    /// The token or the password is not valid.
    Unauthorized,
    /// A fault of the server; the log has the cause under the request id that the sentence names.
    Internal,
}

impl Code {
    /// All codes, in the order of the reference.
    pub const ALL: &[Self] = &[
        Self::BadJson,
        Self::BadFrame,
        Self::UnknownType,
        Self::BadParams,
        Self::NotFound,
        Self::NotAMember,
        Self::AlreadyAMember,
        Self::NotAdmin,
        Self::NotAuthor,
        Self::Blocked,
        Self::Oneself,
        Self::Conflict,
        Self::RateLimited,
        Self::TooLarge,
        Self::Overloaded,
        Self::Unauthorized,
        Self::Internal,
    ];
}

/// A refusal or a fault, on its way to the caller.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    #[source]
    cause: Option<Cause>,
}

/// The part of an error that the caller gets.
#[derive(Clone, Debug)]
pub struct ErrorResponse {
    /// The code, for programs.
    pub code: Code,
    /// One English sentence for a person.
    pub message: Cow<'static, str>,
    /// The time to wait before a retry, if it is known.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// A refusal: a code, and a sentence that names the field at fault.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None, cause: None }
    }

    /// A parameter is missing or out of its range.
    pub fn bad_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadParams, message)
    }

    /// The thing does not exist, or the caller may not know of it.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// The user that `field` names does not exist.
    #[must_use]
    pub fn no_such_user(field: &str) -> Self {
        Self::not_found(format!("{field}: there is no such user"))
    }

    /// The group does not exist, or has ended.
    #[must_use]
    pub fn no_such_group() -> Self {
        Self::not_found("params.groupId: there is no such group")
    }

    /// The message does not exist, or the caller may not know of it.
    #[must_use]
    pub fn no_such_message() -> Self {
        Self::not_found("params.messageId: there is no such message")
    }

    /// A member asked for what only admins may do.
    #[must_use]
    pub fn not_admin() -> Self {
        Self::new(Code::NotAdmin, "Only admins of this group may do that")
    }

    /// The receiver has blocked the caller.
    #[must_use]
    pub fn blocked() -> Self {
        Self::new(Code::Blocked, "This user does not take anything from you")
    }

    /// Users cannot do this to themselves.
    #[must_use]
    pub fn oneself() -> Self {
        Self::new(Code::Oneself, "params.userId must be somebody else")
    }

    /// The caller is not a member of the group.
    #[must_use]
    pub fn not_a_member() -> Self {
        Self::new(Code::NotAMember, "User is not a member of this group")
    }

    /// The token is missing or not valid.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(Code::Unauthorized, "Not authorized")
    }

    /// A rate limit; the caller may retry after `retry_after`.
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Self {
        let message = format!("Too many requests; try again in {} ms", retry_after.as_millis());
        Self { retry_after: Some(retry_after), ..Self::new(Code::RateLimited, message) }
    }

    /// A queue of the server is full, or a wait has timed out.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::new(Code::Overloaded, "The server is overloaded; try again later")
    }

    /// Sets the time to wait before a retry.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// The database is not available; the log gets the cause.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self {
            cause: Some(cause.into()),
            ..Self::new(Code::Overloaded, "The database cannot be reached; nothing was confirmed, try again later")
        }
    }

    /// A fault of the server; the log gets the cause.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(Code::Internal, "Something went wrong here") }
    }

    /// The code, for programs.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// The cause with everything behind it, for the operator who starts a server.
    #[must_use]
    pub fn cause_chain(&self) -> String {
        self.cause.as_deref().map_or_else(|| self.to_string(), |cause| chain(cause))
    }

    /// Logs the cause and returns what the caller gets. It is called once for an error, at the edge, so that a
    /// cause is logged once.
    #[must_use]
    pub fn log_and_convert(self) -> ErrorResponse {
        let Self { code, mut message, retry_after, cause } = self;
        if let Some(cause) = cause {
            let request_id = format!("{:016x}", rand::random::<u64>());
            tracing::error!(request_id, cause = chain(cause.as_ref()), "{message}");
            if code == Code::Internal {
                message = format!("{message}; the log knows more under request id {request_id}").into();
            }
        }
        ErrorResponse { code, message, retry_after }
    }
}

/// An error and its causes on one line. Many errors repeat their cause in their own text; it is written once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        cause = next.source();
    }
    line
}
