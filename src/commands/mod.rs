//! The protocol's table of contents: what a client may ask for over a socket. A new frame is one
//! variant with its type, one line in `apply`, one function and one test.

pub mod chat_list;
pub mod conversations;
pub mod edits;
pub mod groups;
pub mod history;
pub mod messages;
pub mod pages;
pub mod presence;
pub mod receipts;
pub mod session;

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};
use serde_json::Value as Schema;

pub use self::pages::Pages;
use crate::app::App;
use crate::config::Limits;
use crate::delivery::socket::Socket;
use crate::delivery::{Event, Push};
use crate::error::{Code, Error};
use crate::model::{Origin, SocketId, UserId};
use crate::store::conversations::ConversationState;
use crate::store::messages::StoredMessage;
use crate::wire::frame::Request;
use crate::wire::items::ConversationItem;
use crate::wire::params::{Description, Fields, FromFields};
use crate::wire::reply::Body;

/// Makes the enum of the commands, the reading of their parameters and the schema of these.
macro_rules! commands {
    ($($(#[doc = $doc:literal])* $kind:literal => $variant:ident($params:ty),)*) => {
        /// A request, read and checked.
        #[derive(Debug)]
        pub enum Command {
            $($(#[doc = $doc])* $variant($params),)*
        }

        impl Command {
            /// Every type of a request, in the order of the protocol.
            pub const TYPES: &'static [&'static str] = &[$($kind),*];

            /// Reads the parameters that the request's type calls for.
            ///
            /// # Errors
            /// `unknown_type`, or `bad_params` with a sentence that names the field at fault.
            pub fn parse(request: &Request<'_>, limits: &Limits) -> Result<Self, Error> {
                let fields = || Fields::of_params(request.params, limits);
                Ok(match request.kind.as_str() {
                    $($kind => Self::$variant(<$params>::from_fields(&fields()?)?),)*
                    _ => return Err(Error::new(Code::UnknownType, "There is no such type")),
                })
            }

            /// Of every type: what it does, and the schema of its parameters.
            #[must_use]
            pub fn descriptions(limits: &Limits) -> Vec<(&'static str, &'static str, Schema)> {
                vec![$(($kind, concat!($($doc),*).trim_ascii(), Description::of::<$params>(limits).into_schema())),*]
            }
        }
    };
}

commands! {
    /// A fresh token for this socket.
    "authenticate" => Authenticate(session::Authenticate),
    /// Which extra pushes this socket gets.
    "subscribe" => Subscribe(session::Subscribe),
    /// A page of my conversations, each with its newest message, as the first clients know it.
    "listLastMessage" => ListLastMessage(chat_list::ListLastMessage),
    /// A page of my conversations.
    "listConversations" => ListConversations(chat_list::ListConversations),
    /// Begins a conversation, shows it, and turns on its typing and presence for this socket.
    "openConversation" => OpenConversation(conversations::OpenConversation),
    /// Turns these off.
    "closeConversation" => CloseConversation(conversations::CloseConversation),
    /// A conversation with its members.
    "getConversation" => GetConversation(conversations::GetConversation),
    /// Takes a conversation off my lists and clears it, for me alone.
    "removeConversation" => RemoveConversation(conversations::RemoveConversation),
    /// Calls a conversation spam, for me alone.
    "markSpam" => MarkSpam(conversations::MarkSpam),
    /// A page of a dialog.
    "getlatestMessageDialog" => GetLatestMessageDialog(history::GetLatestMessageDialog),
    /// A page of a group's messages.
    "getlatestMessageGroup" => GetLatestMessageGroup(history::GetLatestMessageGroup),
    /// Makes a group.
    "newGroup" => NewGroup(groups::NewGroup),
    /// Adds somebody to a group.
    "addUserInGroup" => AddUserInGroup(groups::AddUserInGroup),
    /// Leaves a group.
    "leaveGroup" => LeaveGroup(groups::LeaveGroup),
    /// Sends to a group.
    "messageInGroup" => MessageInGroup(messages::MessageInGroup),
    /// Sends to a person.
    "privateMessage" => PrivateMessage(messages::PrivateMessage),
    /// Sends into the conversation of another message, as a reply to it.
    "replyMessage" => ReplyMessage(messages::ReplyMessage),
    /// Gives my message another content.
    "editMessage" => EditMessage(edits::EditMessage),
    /// Takes the content of a message away.
    "deleteMessage" => DeleteMessage(edits::DeleteMessage),
    /// Says what I think of a message, or takes it back.
    "reactToMessage" => ReactToMessage(edits::ReactToMessage),
    /// I have read up to here.
    "readMessages" => ReadMessages(receipts::ReadMessages),
    /// Messages have reached me up to here.
    "deliveredMessages" => DeliveredMessages(receipts::DeliveredMessages),
    /// I am writing, or have stopped.
    "typing" => Typing(presence::Typing),
    /// The app of this socket is in front, or in the background.
    "setPresence" => SetPresence(presence::SetPresence),
    /// Who of these people is here.
    "getOnlineInfo" => GetOnlineInfo(presence::GetOnlineInfo),
}

/// Who asks, and what it takes to answer.
#[derive(Clone, Debug)]
pub struct Context {
    /// The server's parts.
    pub app: Arc<App>,
    /// Who asks, as the token says.
    pub user: UserId,
    /// Over which socket.
    pub socket: SocketId,
    /// Where the lists that they page through go on.
    pub pages: Arc<Pages>,
}

impl Context {
    /// Of a request over HTTP.
    #[must_use]
    pub fn without_socket(app: Arc<App>, user: UserId) -> Self {
        Self { app, user, socket: SocketId::NONE, pages: Arc::default() }
    }

    /// Who causes what comes of this.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { user: self.user, socket: self.socket }
    }
}

/// How a conversation stands for one of its members, as they read it.
fn conversation_item<'a>(state: &'a ConversationState, newest: Option<&'a StoredMessage>) -> ConversationItem<'a> {
    let target = state.target();
    ConversationItem {
        kind: if state.is_group { "group" } else { "dialog" },
        receiver_id: target.user(),
        receiver_name: state.peer_name.as_deref(),
        group_id: target.group(),
        group_name: state.group_name.as_deref(),
        last_seq: state.last_seq,
        read_seq: state.read_seq,
        unread_count: state.unread_count,
        spam: state.is_spam,
        role: if state.is_admin { "admin" } else { "member" },
        last_message: newest.map(StoredMessage::item),
    }
}

/// What a command has to say. It speaks to nobody itself: the connection does.
#[derive(Debug)]
pub struct Outcome {
    /// To the one who asked.
    pub reply: Body,
    /// To others, in this order.
    pub events: Vec<Event>,
}

impl From<Body> for Outcome {
    fn from(reply: Body) -> Self {
        Self { reply, events: Vec::new() }
    }
}

impl Outcome {
    /// An answer, and what others are pushed.
    #[must_use]
    pub fn with_pushes(reply: Body, pushes: impl IntoIterator<Item = Push>) -> Self {
        Self { reply, events: pushes.into_iter().map(Event::Push).collect() }
    }
}

impl Command {
    /// Carries the command out. A send is with the writer when this returns, so that sends keep
    /// their order while none waits for the one before; anything else begins with the first poll.
    #[must_use]
    pub fn apply(self, context: Context, socket: Arc<Socket>) -> BoxFuture<'static, Result<Outcome, Error>> {
        match self {
            Self::Authenticate(params) => session::authenticate(params, context, socket).boxed(),
            Self::Subscribe(params) => session::subscribe(params, context, socket).boxed(),
            Self::ListLastMessage(params) => chat_list::list_last_message(params, context).boxed(),
            Self::ListConversations(params) => chat_list::list_conversations(params, context).boxed(),
            Self::OpenConversation(params) => conversations::open(params, context, socket).boxed(),
            Self::CloseConversation(params) => {
                async move { Ok(conversations::close(&params, &context, &socket)) }.boxed()
            }
            Self::GetConversation(params) => conversations::get(params, context).boxed(),
            Self::RemoveConversation(params) => conversations::remove(params, context).boxed(),
            Self::MarkSpam(params) => conversations::mark_spam(params, context).boxed(),
            Self::GetLatestMessageDialog(params) => history::dialog(params, context).boxed(),
            Self::GetLatestMessageGroup(params) => history::group(params, context).boxed(),
            Self::NewGroup(params) => groups::new_group(params, context).boxed(),
            Self::AddUserInGroup(params) => groups::add_user(params, context).boxed(),
            Self::LeaveGroup(params) => groups::leave(params, context).boxed(),
            Self::MessageInGroup(params) => messages::in_group(params, &context).boxed(),
            Self::PrivateMessage(params) => messages::private(params, &context).boxed(),
            Self::ReplyMessage(params) => messages::reply(params, context).boxed(),
            Self::EditMessage(params) => edits::edit(params, context).boxed(),
            Self::DeleteMessage(params) => edits::delete(params, context).boxed(),
            Self::ReactToMessage(params) => edits::react(params, context).boxed(),
            Self::ReadMessages(params) => receipts::read(params, context).boxed(),
            Self::DeliveredMessages(params) => receipts::delivered(params, context).boxed(),
            Self::Typing(params) => presence::typing(params, context).boxed(),
            Self::SetPresence(params) => async move { Ok(presence::set_presence(&params, &context, &socket)) }.boxed(),
            Self::GetOnlineInfo(params) => presence::get_online_info(params, context).boxed(),
        }
    }

    /// Whether it may run beside other sends of the same socket. Anything else waits for what came
    /// before it and is waited for by what comes after.
    #[must_use]
    pub fn is_send(&self) -> bool {
        matches!(self, Self::MessageInGroup(_) | Self::PrivateMessage(_))
    }
}
