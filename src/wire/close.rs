//! Close codes: why the server closes a connection, as the client reads it.

use std::time::Duration;

use super::reply::Frame;

/// The code and reason of a close frame. Codes below 4000 are those of RFC 6455.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// 1000: the client has closed the connection.
    Normal,
    /// 1001: the server shuts down, its database was restored, or the idle timeout of the client is over. The reason
    /// is the number of milliseconds to wait before a reconnect.
    GoingAway(Duration),
    /// 1002: the client breaks the WebSocket protocol.
    Protocol,
    /// 1007: a message is not UTF-8.
    NotUtf8,
    /// 1009: a message is over the size limit, or in too many fragments.
    TooLarge,
    /// 1013: the client is a slow consumer, or the upgrade of a browser was refused because the node is overloaded or
    /// over a rate limit.
    Overloaded,
    /// 4001: the token is missing, not valid, or no longer valid.
    Unauthorized,
    /// 4001: a browser offers the subprotocol `auth` and no token after it, for example with the two in reverse order.
    NoTokenOffered,
    /// 4008: the client kept sending over its rate limit.
    RateLimited,
    /// 4009: the user has too many sockets.
    TooManySockets,
}

impl Close {
    /// The status code of the close frame.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway(_) => 1001,
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
            Self::Overloaded => 1013,
            Self::Unauthorized | Self::NoTokenOffered => 4001,
            Self::RateLimited => 4008,
            Self::TooManySockets => 4009,
        }
    }

    /// The close frame.
    #[must_use]
    pub fn frame(self) -> Frame {
        let reason = match self {
            Self::Normal => "",
            Self::GoingAway(wait) => return Frame::close(self.code(), &wait.as_millis().to_string()),
            Self::Protocol => "Not the WebSocket protocol",
            Self::NotUtf8 => "A frame must be UTF-8",
            Self::TooLarge => "The frame is too large",
            Self::Overloaded => "Overloaded, try later",
            Self::Unauthorized => "Not authorized",
            Self::NoTokenOffered => "Not authorized: the subprotocols must be [\"auth\", token], in this order",
            Self::RateLimited => "Kept breaking the rate limit",
            Self::TooManySockets => "Too many sockets of one user",
        };
        Frame::close(self.code(), reason)
    }
}
