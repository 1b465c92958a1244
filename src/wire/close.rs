//! Why the server ends a connection, as the client reads it.

use std::time::Duration;

use super::reply::Frame;

/// The reason that the last frame of a connection gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// 1000: the client said goodbye.
    Bye,
    /// 1001: the server goes away, or heard nothing for too long. The reason is the milliseconds to
    /// wait before coming back.
    GoingAway(Duration),
    /// 1002: not the WebSocket protocol.
    Protocol,
    /// 1007: a frame that is not UTF-8.
    NotUtf8,
    /// 1009: a frame over the limit.
    TooLarge,
    /// 1013: the client reads too slowly, or the server has too much to do; try later.
    Overloaded,
    /// 4001: no token that is good, or no longer.
    Unauthorized,
    /// 4001: a page offers `auth` as a subprotocol and no token behind it, as with the two in another order.
    NoTokenOffered,
    /// 4008: kept breaking the rate limit.
    RateLimited,
    /// 4009: too many sockets of one user.
    TooManySockets,
}

impl Close {
    /// The number that goes over the wire.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Bye => 1000,
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

    /// The last frame of a connection.
    #[must_use]
    pub fn frame(self) -> Frame {
        let reason = match self {
            Self::Bye => "",
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
