//! Errors: the code and the sentence that the caller gets, and the cause, which only the log gets.

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
    /// Users cannot do this to themselves. On the wire it is `self`.
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

/// A field of a request that an error is about. Its prefix in a sentence depends on the interface, see
/// [`ErrorResponse::sentence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// `cursor` of `sync`.
    Cursor,
    /// `email` of an account.
    Email,
    /// `groupId`.
    GroupId,
    /// `id` in the path of a user.
    Id,
    /// `messageId`.
    MessageId,
    /// `notificationId`.
    NotificationId,
    /// `receiverId`, the other side of a dialog.
    ReceiverId,
    /// `replyTo` of a message sent over HTTP.
    ReplyTo,
    /// `userId`.
    UserId,
    /// `userIds`, a list of them.
    UserIds,
    /// `username` of an account.
    Username,
}

impl Field {
    /// The key that clients write.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cursor => "cursor",
            Self::Email => "email",
            Self::GroupId => "groupId",
            Self::Id => "id",
            Self::MessageId => "messageId",
            Self::NotificationId => "notificationId",
            Self::ReceiverId => "receiverId",
            Self::ReplyTo => "replyTo",
            Self::UserId => "userId",
            Self::UserIds => "userIds",
            Self::Username => "username",
        }
    }
}

/// A refusal or a fault, on its way to the caller.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", field.map_or("", Field::name))]
pub struct Error {
    code: Code,
    /// The field that the sentence begins with.
    field: Option<Field>,
    /// The sentence, or what follows the name of the field.
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
    field: Option<Field>,
    message: Cow<'static, str>,
    /// The time to wait before a retry, if it is known.
    pub retry_after: Option<Duration>,
}

impl ErrorResponse {
    /// One English sentence for a person. `prefix` is what a request puts before the names of its fields:
    /// `params.` in a frame, nothing in a body or a query string.
    #[must_use]
    pub fn sentence(&self, prefix: &str) -> Cow<'_, str> {
        match self.field {
            Some(field) => format!("{prefix}{}{}", field.name(), self.message).into(),
            None => self.message.as_ref().into(),
        }
    }
}

impl Error {
    /// A refusal: a code and a sentence.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, field: None, message: message.into(), retry_after: None, cause: None }
    }

    /// A refusal whose sentence begins with the name of a field; `rest` follows the name at once, such as
    /// `: there is no such user` or ` must be somebody else`.
    pub fn of_field(code: Code, field: Field, rest: impl Into<Cow<'static, str>>) -> Self {
        Self { field: Some(field), ..Self::new(code, rest) }
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
    pub fn no_such_user(field: Field) -> Self {
        Self::of_field(Code::NotFound, field, ": there is no such user")
    }

    /// The group does not exist, or has ended.
    #[must_use]
    pub fn no_such_group() -> Self {
        Self::of_field(Code::NotFound, Field::GroupId, ": there is no such group")
    }

    /// The message does not exist, or the caller may not know of it.
    #[must_use]
    pub fn no_such_message() -> Self {
        Self::of_field(Code::NotFound, Field::MessageId, ": there is no such message")
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
        Self::of_field(Code::Oneself, Field::UserId, " must be somebody else")
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

    /// The same refusal for another caller, without the cause.
    #[must_use]
    pub fn for_another(&self) -> Self {
        let Self { code, field, message, retry_after, cause: _ } = self;
        Self { code: *code, field: *field, message: message.clone(), retry_after: *retry_after, cause: None }
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

    /// The cause and its own causes on one line, for the operator who starts a server.
    #[must_use]
    pub fn cause_chain(&self) -> String {
        self.cause.as_deref().map_or_else(|| self.to_string(), |cause| chain(cause))
    }

    /// Logs the cause and returns what the caller gets. Causes are logged here and nowhere else: an interface that
    /// answers an error calls this, or the task that handles it, once for each error.
    #[must_use]
    pub fn log_and_convert(self) -> ErrorResponse {
        let Self { code, field, mut message, retry_after, cause } = self;
        if let Some(cause) = cause {
            let request_id = format!("{:016x}", rand::random::<u64>());
            tracing::error!(request_id, cause = chain(cause.as_ref()), "{message}");
            if code == Code::Internal {
                message = format!("{message}; the log knows more under request id {request_id}").into();
            }
        }
        ErrorResponse { code, field, message, retry_after }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentence_puts_the_prefix_before_a_field_and_nothing_else() {
        let of_field = Error::no_such_user(Field::UserId).log_and_convert();
        assert_eq!(of_field.sentence("params."), "params.userId: there is no such user");
        assert_eq!(of_field.sentence(""), "userId: there is no such user");
        assert_eq!(Error::overloaded().log_and_convert().sentence("params."), Error::overloaded().to_string());
    }
}
