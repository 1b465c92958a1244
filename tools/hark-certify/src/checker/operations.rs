//! The operations that the rules judge, put together from the entries of the history. `entry` is the number of the
//! entry that an operation comes from.

use serde_json::Value;

use crate::history::event::{Change, Conversation, Message, Micros, Side, SocketId, UserId};

/// A socket, from its upgrade to its end.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) user: UserId,
    pub(super) opened: Micros,
    pub(super) closed: Option<Closed>,
}

/// The end of a socket.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) at: Micros,
    pub(super) entry: usize,
    pub(super) by: Side,
    pub(super) code: Option<u16>,
}

/// A request, with its reply if there is one.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) entry: usize,
    pub(super) at: Micros,
    pub(super) socket: SocketId,
    pub(super) user: UserId,
    pub(super) frame_type: String,
    pub(super) params: Value,
    pub(super) reply: Option<Reply>,
}

/// The reply to a request.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) entry: usize,
    pub(super) at: Micros,
    pub(super) frame: Value,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It took effect between the request and the reply.
    Done,
    /// It took no effect and never will.
    Refused,
    /// It may have taken effect, or may still do so.
    Unknown,
}

impl Request {
    pub(super) fn outcome(&self) -> Outcome {
        match &self.reply {
            Some(reply) if reply.frame["success"] == true => Outcome::Done,
            Some(reply) if !matches!(reply.frame["code"].as_str(), Some("overloaded" | "internal")) => Outcome::Refused,
            _ => Outcome::Unknown,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.outcome() == Outcome::Done
    }

    pub(super) fn item(&self) -> &Value {
        self.reply.as_ref().map_or(&Value::Null, |reply| &reply.frame["params"]["item"])
    }

    pub(super) fn rows(&self) -> &[Value] {
        let rows = self.reply.as_ref().and_then(|reply| reply.frame["params"]["data"].as_array());
        rows.map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn conversation(&self) -> Option<Conversation> {
        Conversation::from_target(self.user, &self.params)
    }

    pub(super) fn replied_at(&self) -> Option<Micros> {
        self.reply.as_ref().map(|reply| reply.at)
    }

    pub(super) fn latency(&self) -> Option<Micros> {
        self.replied_at().map(|at| at.saturating_sub(self.at))
    }

    /// The code of the error that answers the request.
    pub(super) fn error_code(&self) -> Option<&str> {
        self.reply.as_ref().and_then(|reply| reply.frame["code"].as_str())
    }

    /// The entries of the request and of its reply, as evidence.
    pub(super) fn shown(&self) -> impl Iterator<Item = usize> + use<> {
        [Some(self.entry), self.reply.as_ref().map(|reply| reply.entry)].into_iter().flatten()
    }

    pub(super) fn is_send(&self) -> bool {
        matches!(self.frame_type.as_str(), "privateMessage" | "messageInGroup")
    }

    /// The name of the message that the request sends: its `clientMessageId`.
    pub(super) fn name(&self) -> &str {
        self.params["clientMessageId"].as_str().unwrap_or_default()
    }
}

/// A message that a socket received: in a push, or in a page.
#[derive(Debug)]
pub(super) struct SeenMessage {
    pub(super) entry: usize,
    pub(super) at: Micros,
    pub(super) socket: SocketId,
    pub(super) user: UserId,
    pub(super) conversation: Conversation,
    pub(super) message: Message,
    /// Whether it came in the push of a new message.
    pub(super) is_push: bool,
}

/// A message in the final state.
#[derive(Debug)]
pub(super) struct StoredMessage<'a> {
    pub(super) conversation: Conversation,
    pub(super) message: &'a Message,
    pub(super) entry: usize,
}

/// The changes that `sync` returns in the end for a cursor.
pub(super) struct SyncResult<'a> {
    pub(super) entry: usize,
    pub(super) user: UserId,
    pub(super) cursor: &'a str,
    pub(super) complete: bool,
    pub(super) changes: &'a [Change],
}

/// A fault, from its injection until all servers were ready again.
#[derive(Debug)]
pub(super) struct FaultWindow {
    pub(super) fault: String,
    pub(super) entry: usize,
    pub(super) started: Micros,
    /// The times between which PostgreSQL was certainly down.
    pub(super) down: Option<(Micros, Micros)>,
    pub(super) ended: Option<Micros>,
}

impl FaultWindow {
    /// Whether the fault overlaps a span of time.
    pub(super) fn overlaps(&self, from: Micros, to: Micros) -> bool {
        self.started <= to && self.ended.is_none_or(|ended| ended >= from)
    }
}
