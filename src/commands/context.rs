//! What every command is given, and what it returns.

use std::sync::Arc;

use super::paging::PagingState;
use crate::app::App;
use crate::delivery::{Event, Push};
use crate::model::{Origin, SocketId, UserId};
use crate::wire::reply::Body;

/// The caller of a command, and what commands need of the server.
#[derive(Clone, Debug)]
pub struct Context {
    /// The parts of the server.
    pub app: Arc<App>,
    /// The caller, as the token says.
    pub user: UserId,
    /// The socket of the request; [`SocketId::NONE`] for HTTP.
    pub socket: SocketId,
    /// The history of the database in which the caller was authenticated, see [`Db::history`](crate::store::Db::history).
    pub history: u64,
    /// Where the lists that the socket pages through continue.
    pub paging: Arc<PagingState>,
}

impl Context {
    /// The context of a request over HTTP.
    #[must_use]
    pub fn without_socket(app: Arc<App>, user: UserId) -> Self {
        let history = app.db.history();
        Self { app, user, socket: SocketId::NONE, history, paging: Arc::default() }
    }

    /// The origin of the pushes that the command causes.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { user: self.user, socket: self.socket }
    }
}

/// The result of a command. The connection sends the reply and publishes the events.
#[derive(Debug)]
pub struct Outcome {
    /// The reply to the caller.
    pub reply: Body,
    /// Events for others, in this order.
    pub events: Vec<Event>,
}

impl From<Body> for Outcome {
    fn from(reply: Body) -> Self {
        Self { reply, events: Vec::new() }
    }
}

impl Outcome {
    /// A reply, and pushes for others.
    #[must_use]
    pub fn with_pushes(reply: Body, pushes: impl IntoIterator<Item = Push>) -> Self {
        Self { reply, events: pushes.into_iter().map(Event::Push).collect() }
    }
}
