//! The protocol's table of contents: what a client may ask for over a socket. A new frame is one
//! variant, two match lines, one function and one test.

pub mod conversations;
pub mod groups;
pub mod history;
pub mod messages;
pub mod session;

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};

use crate::app::App;
use crate::config::Limits;
use crate::delivery::Push;
use crate::delivery::hub::Socket;
use crate::error::{Code, Error};
use crate::model::UserId;
use crate::wire::frame::Request;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// A request, read and checked.
#[derive(Debug)]
pub enum Command {
    /// A fresh token for this socket.
    Authenticate(session::Authenticate),
    /// A page of my conversations, each with its newest message.
    ListLastMessage(conversations::ListLastMessage),
    /// A page of a dialog.
    GetLatestMessageDialog(history::GetLatestMessageDialog),
    /// A page of a group's messages.
    GetLatestMessageGroup(history::GetLatestMessageGroup),
    /// Makes a group.
    NewGroup(groups::NewGroup),
    /// Adds somebody to a group.
    AddUserInGroup(groups::AddUserInGroup),
    /// Leaves a group.
    LeaveGroup(groups::LeaveGroup),
    /// Sends to a group.
    MessageInGroup(messages::MessageInGroup),
    /// Sends to a person.
    PrivateMessage(messages::PrivateMessage),
}

/// Who asks, over which socket, and what it takes to answer.
#[derive(Clone, Debug)]
pub struct Context {
    /// The server's parts.
    pub app: Arc<App>,
    /// Who asks, as the token says.
    pub user: UserId,
    /// The socket that the request came over.
    pub socket: Arc<Socket>,
}

/// What a command has to say. It speaks to nobody itself: the connection does.
#[derive(Debug)]
pub struct Outcome {
    /// To the one who asked.
    pub reply: Body,
    /// To others.
    pub pushes: Vec<Push>,
}

impl From<Body> for Outcome {
    fn from(reply: Body) -> Self {
        Self { reply, pushes: Vec::new() }
    }
}

impl Command {
    /// Reads the parameters that the request's type calls for.
    ///
    /// # Errors
    /// `unknown_type`, or `bad_params` with a sentence that names the field at fault.
    pub fn parse(request: &Request<'_>, limits: &Limits) -> Result<Self, Error> {
        fn params<T: FromFields>(request: &Request<'_>, limits: &Limits) -> Result<T, Error> {
            T::from_fields(&Fields::of_params(request.params, limits)?)
        }
        Ok(match request.kind.as_str() {
            "authenticate" => Self::Authenticate(params(request, limits)?),
            "listLastMessage" => Self::ListLastMessage(params(request, limits)?),
            "getlatestMessageDialog" => Self::GetLatestMessageDialog(params(request, limits)?),
            "getlatestMessageGroup" => Self::GetLatestMessageGroup(params(request, limits)?),
            "newGroup" => Self::NewGroup(params(request, limits)?),
            "addUserInGroup" => Self::AddUserInGroup(params(request, limits)?),
            "leaveGroup" => Self::LeaveGroup(params(request, limits)?),
            "messageInGroup" => Self::MessageInGroup(params(request, limits)?),
            "privateMessage" => Self::PrivateMessage(params(request, limits)?),
            _ => return Err(Error::new(Code::UnknownType, "There is no such type")),
        })
    }

    /// Carries the command out. A send is with the writer when this returns, so that sends keep
    /// their order while none waits for the one before; anything else begins with the first poll.
    #[must_use]
    pub fn apply(self, context: Context) -> BoxFuture<'static, Result<Outcome, Error>> {
        match self {
            Self::Authenticate(params) => session::authenticate(params, context).boxed(),
            Self::ListLastMessage(params) => conversations::list_last_message(params, context).boxed(),
            Self::GetLatestMessageDialog(params) => history::dialog(params, context).boxed(),
            Self::GetLatestMessageGroup(params) => history::group(params, context).boxed(),
            Self::NewGroup(params) => groups::new_group(params, context).boxed(),
            Self::AddUserInGroup(params) => groups::add_user(params, context).boxed(),
            Self::LeaveGroup(params) => groups::leave(params, context).boxed(),
            Self::MessageInGroup(params) => messages::in_group(params, &context).boxed(),
            Self::PrivateMessage(params) => messages::private(params, &context).boxed(),
        }
    }

    /// Whether it may run beside other sends of the same socket. Anything else waits for what came
    /// before it and is waited for by what comes after.
    #[must_use]
    pub fn is_send(&self) -> bool {
        matches!(self, Self::MessageInGroup(_) | Self::PrivateMessage(_))
    }
}
