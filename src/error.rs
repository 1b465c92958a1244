//! What a caller may be told, and what only the log sees.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, for programs. The spelling never changes.
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
    /// There is no such thing, or none that the caller may know of.
    NotFound,
    /// Only members of the group may.
    NotAMember,
    /// The user is in the group already.
    AlreadyAMember,
    /// Only admins of the group may.
    NotAdmin,
    /// Only the author of the message may.
    NotAuthor,
    /// The other one does not take anything from the caller.
    Blocked,
    /// Nobody does this to themselves. The wire says `self`.
    #[serde(rename = "self")]
    Oneself,
    /// An e-mail or username is taken, or the change would break a rule of the group.
    Conflict,
    /// Too many requests; `retryAfterMs` says when to come back.
    RateLimited,
    /// The body is over the limit.
    TooLarge,
    /// The server cannot take it now; the same request may succeed later.
    Overloaded,
    /// The token or password is not good.
    Unauthorized,
    /// Our fault; the log has the cause under the request id of the message.
    Internal,
}

impl Code {
    /// All of them.
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

/// A refusal or a fault on its way to the caller.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    code: Code,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    #[source]
    cause: Option<Cause>,
}

/// What the caller is told.
#[derive(Clone, Debug)]
pub struct Answer {
    /// For programs.
    pub code: Code,
    /// One English sentence for a person.
    pub message: Cow<'static, str>,
    /// When to come back, where that is known.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// A refusal: the caller's `code` and a sentence that names the field at fault.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), retry_after: None, cause: None }
    }

    /// A parameter is missing or out of its range.
    pub fn bad_params(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::BadParams, message)
    }

    /// There is no such thing, or none that the caller may know of.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// There is no such user; `field` is the one that names them.
    #[must_use]
    pub fn no_such_user(field: &str) -> Self {
        Self::not_found(format!("{field}: there is no such user"))
    }

    /// There is no such group, or it has ended.
    #[must_use]
    pub fn no_such_group() -> Self {
        Self::not_found("params.groupId: there is no such group")
    }

    /// There is no such message, or none that the caller may know of.
    #[must_use]
    pub fn no_such_message() -> Self {
        Self::not_found("params.messageId: there is no such message")
    }

    /// What an admin may, a member asked.
    #[must_use]
    pub fn not_admin() -> Self {
        Self::new(Code::NotAdmin, "Only admins of this group may do that")
    }

    /// The other one has blocked the caller.
    #[must_use]
    pub fn blocked() -> Self {
        Self::new(Code::Blocked, "This user does not take anything from you")
    }

    /// Nobody does this to themselves.
    #[must_use]
    pub fn oneself() -> Self {
        Self::new(Code::Oneself, "params.userId must be somebody else")
    }

    /// The group is for its members alone.
    #[must_use]
    pub fn not_a_member() -> Self {
        Self::new(Code::NotAMember, "User is not a member of this group")
    }

    /// No token, or none that is good.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(Code::Unauthorized, "Not authorized")
    }

    /// Too many requests; the caller may come back after `retry_after`.
    #[must_use]
    pub fn rate_limited(retry_after: Duration) -> Self {
        let message = format!("Too many requests; try again in {} ms", retry_after.as_millis());
        Self { retry_after: Some(retry_after), ..Self::new(Code::RateLimited, message) }
    }

    /// The server has more to do than it can hold.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::new(Code::Overloaded, "The server is overloaded; try again later")
    }

    /// With when to come back.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }

    /// Something that we depend on does not answer; the log gets the cause.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self {
            cause: Some(cause.into()),
            ..Self::new(Code::Overloaded, "The database cannot be reached; nothing was confirmed, try again later")
        }
    }

    /// Our fault; the log gets the cause.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self { cause: Some(cause.into()), ..Self::new(Code::Internal, "Something went wrong here") }
    }

    /// For programs.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What is behind it, for whoever starts a server and is to see it all.
    #[must_use]
    pub fn causes(&self) -> String {
        self.cause.as_deref().map_or_else(|| self.to_string(), |cause| chain(cause))
    }

    /// What the caller is told. The one place where a cause is logged: call it once, at the edge.
    #[must_use]
    pub fn into_answer(self) -> Answer {
        let Self { code, mut message, retry_after, cause } = self;
        if let Some(cause) = cause {
            let request_id = format!("{:016x}", rand::random::<u64>());
            tracing::error!(request_id, cause = chain(cause.as_ref()), "{message}");
            if code == Code::Internal {
                message = format!("{message}; the log knows more under request id {request_id}").into();
            }
        }
        Answer { code, message, retry_after }
    }
}

/// An error with everything that caused it, on one line. Many errors say their cause themselves; it
/// is not said twice.
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
