//! The protocol's table of contents: what a client may ask for over a socket. A new frame is one
//! variant with its type, one line in `apply`, one function and one test.

pub mod chat_list;
pub mod contacts;
pub mod conversations;
pub mod edits;
pub mod groups;
pub mod history;
pub mod messages;
pub mod notifications;
pub mod paging;
pub mod presence;
mod pushes;
pub mod receipts;
pub mod search;
pub mod session;
pub mod sync;
pub mod users;

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};

pub use self::paging::Pages;
pub use self::pushes::pushes;
use crate::app::App;
use crate::config::Limits;
use crate::delivery::socket::Socket;
use crate::delivery::{Event, Push};
use crate::error::{Code, Error};
use crate::model::{Origin, SocketId, UserId};
use crate::store::conversations::ConversationState;
use crate::store::messages::StoredMessage;
use crate::wire::frame::Request;
use crate::wire::items::{
    ConversationDetails, ConversationItem, GroupItem, ListedPersonItem, MessageItem, NotificationItem, OnlineInfo,
    PersonItem, ReactionChange, ReadItem, ReceiptItem, RemovedItem, SpamItem,
};
use crate::wire::params::{Description, Fields, FromFields};
use crate::wire::reply::Body;
use crate::wire::schema::{Frame, NamedSchema};

/// Makes the enum of the commands, the reading of their parameters, and what documents say of them.
/// After the arrow stands what the reply holds: its `item`, and the `rows` in its `data`.
macro_rules! commands {
    ($($(#[doc = $doc:literal])* $kind:literal => $variant:ident($params:ty) $(-> [$($part:ident $schema:ty),+])?,)*) => {
        /// A request, read and checked.
        #[derive(Debug)]
        pub enum Command {
            $($(#[doc = $doc])* $variant($params),)*
        }

        impl Command {
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

            /// Every frame that a client may send, in the order of this table.
            #[must_use]
            pub fn frames(limits: &Limits) -> Vec<Frame> {
                vec![$(Frame {
                    kind: $kind,
                    summary: concat!($($doc),*).trim_ascii(),
                    params: Description::of::<$params>(limits).into_schema(),
                    reply: vec![$($((stringify!($part), NamedSchema::of::<$schema>())),+)?],
                }),*]
            }
        }
    };
}

commands! {
    /// A fresh token for this socket.
    "authenticate" => Authenticate(session::Authenticate),
    /// Which extra pushes this socket gets.
    "subscribe" => Subscribe(session::Subscribe) -> [item session::Subscription],
    /// A page of my conversations, each with its newest message, as the first clients know it.
    "listLastMessage" => ListLastMessage(chat_list::ListLastMessage) -> [rows chat_list::LastMessageRow],
    /// A page of my conversations.
    "listConversations" => ListConversations(chat_list::ListConversations) -> [rows ConversationItem],
    /// Begins a conversation, shows it, and turns on its typing and presence for this socket.
    "openConversation" => OpenConversation(conversations::OpenConversation) -> [item ConversationDetails, rows MessageItem],
    /// Turns these off.
    "closeConversation" => CloseConversation(conversations::CloseConversation),
    /// A conversation with its members.
    "getConversation" => GetConversation(conversations::GetConversation) -> [item ConversationDetails],
    /// Takes a conversation off my lists and clears it, for me alone.
    "removeConversation" => RemoveConversation(conversations::RemoveConversation) -> [item RemovedItem],
    /// Calls a conversation spam, for me alone.
    "markSpam" => MarkSpam(conversations::MarkSpam) -> [item SpamItem],
    /// A page of a dialog.
    "getlatestMessageDialog" => GetLatestMessageDialog(history::GetLatestMessageDialog) -> [rows history::DialogRow],
    /// A page of a group's messages.
    "getlatestMessageGroup" => GetLatestMessageGroup(history::GetLatestMessageGroup) -> [rows history::GroupRow],
    /// Makes a group.
    "newGroup" => NewGroup(groups::NewGroup) -> [item GroupItem],
    /// Adds somebody to a group.
    "addUserInGroup" => AddUserInGroup(groups::UserOfGroup),
    /// Leaves a group.
    "leaveGroup" => LeaveGroup(groups::WholeGroup),
    /// Takes somebody out of a group. Admins only.
    "removeUserFromGroup" => RemoveUserFromGroup(groups::UserOfGroup),
    /// Makes a member of a group one of its admins. Admins only.
    "addGroupAdmin" => AddGroupAdmin(groups::UserOfGroup),
    /// Makes an admin of a group a member like others. Admins only.
    "removeGroupAdmin" => RemoveGroupAdmin(groups::UserOfGroup),
    /// Gives a group another name. Admins only.
    "renameGroup" => RenameGroup(groups::RenameGroup),
    /// Ends a group for all who are in it. Admins only.
    "dropGroup" => DropGroup(groups::WholeGroup),
    /// A page of the people in a group, the longest-standing first.
    "listGroupUsers" => ListGroupUsers(groups::ListGroupUsers) -> [rows groups::GroupUserRow],
    /// Sends to a group.
    "messageInGroup" => MessageInGroup(messages::MessageInGroup) -> [item ReceiptItem],
    /// Sends to a person.
    "privateMessage" => PrivateMessage(messages::PrivateMessage) -> [item ReceiptItem],
    /// Sends into the conversation of another message, as a reply to it.
    "replyMessage" => ReplyMessage(messages::ReplyMessage) -> [item ReceiptItem],
    /// Gives my message another content.
    "editMessage" => EditMessage(edits::EditMessage) -> [item MessageItem],
    /// Takes the content of a message away.
    "deleteMessage" => DeleteMessage(edits::DeleteMessage) -> [item MessageItem],
    /// Says what I think of a message, or takes it back.
    "reactToMessage" => ReactToMessage(edits::ReactToMessage) -> [item ReactionChange],
    /// I have read up to here.
    "readMessages" => ReadMessages(receipts::ReadMessages) -> [item receipts::OwnMarkerItem],
    /// Messages have reached me up to here.
    "deliveredMessages" => DeliveredMessages(receipts::DeliveredMessages) -> [item receipts::OwnMarkerItem],
    /// I am writing, or have stopped.
    "typing" => Typing(presence::Typing),
    /// The app of this socket is in front, or in the background.
    "setPresence" => SetPresence(presence::SetPresence),
    /// Who of these people is here.
    "getOnlineInfo" => GetOnlineInfo(presence::GetOnlineInfo) -> [rows OnlineInfo],
    /// A page of everybody, in the order of sign-up.
    "listUsers" => ListUsers(users::ListUsers) -> [rows PersonItem],
    /// Somebody's names; my own where I name nobody.
    "getUser" => GetUser(users::GetUser) -> [item PersonItem],
    /// People with this in their name, or with this e-mail address.
    "searchUsers" => SearchUsers(users::SearchUsers) -> [rows PersonItem],
    /// Puts somebody on my list.
    "addContact" => AddContact(contacts::AddContact),
    /// Takes somebody from my list.
    "removeContact" => RemoveContact(contacts::RemoveContact),
    /// A page of my list.
    "listContacts" => ListContacts(contacts::ListContacts) -> [rows ListedPersonItem],
    /// Takes nothing from somebody any more.
    "blockUser" => BlockUser(contacts::BlockUser),
    /// Ends that.
    "unblockUser" => UnblockUser(contacts::UnblockUser),
    /// A page of those whom I have blocked.
    "listBlocked" => ListBlocked(contacts::ListBlocked) -> [rows ListedPersonItem],
    /// Lets somebody know something.
    "sendNotification" => SendNotification(notifications::SendNotification) -> [item notifications::SentItem],
    /// A page of what others let me know.
    "listNotifications" => ListNotifications(notifications::ListNotifications) -> [rows NotificationItem],
    /// Marks one of these as read, or all.
    "readNotifications" => ReadNotifications(notifications::ReadNotifications) -> [item ReadItem],
    /// Full text over the messages that I may read, newest first.
    "searchMessages" => SearchMessages(search::SearchMessages) -> [item search::SearchItem, rows MessageItem],
    /// What has changed in my conversations.
    "sync" => Sync(sync::Sync) -> [item sync::SyncItem, rows sync::ChangeRow],
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
    /// In which history of the database, see [`Db::history`](crate::store::Db::history).
    pub history: u64,
    /// Where the lists that they page through go on.
    pub pages: Arc<Pages>,
}

impl Context {
    /// Of a request over HTTP.
    #[must_use]
    pub fn without_socket(app: Arc<App>, user: UserId) -> Self {
        let history = app.db.history();
        Self { app, user, socket: SocketId::NONE, history, pages: Arc::default() }
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
        if self.is_send() {
            return self.begin(context, socket);
        }
        async move {
            // Nobody takes all connections to the database with slow requests over many sockets.
            let _turn = context.app.turn(context.user, context.history).await?;
            self.begin(context, socket).await
        }
        .boxed()
    }

    fn begin(self, context: Context, socket: Arc<Socket>) -> BoxFuture<'static, Result<Outcome, Error>> {
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
            Self::RemoveUserFromGroup(params) => groups::remove_user(params, context).boxed(),
            Self::AddGroupAdmin(params) => groups::add_admin(params, context).boxed(),
            Self::RemoveGroupAdmin(params) => groups::remove_admin(params, context).boxed(),
            Self::RenameGroup(params) => groups::rename(params, context).boxed(),
            Self::DropGroup(params) => groups::end(params, context).boxed(),
            Self::ListGroupUsers(params) => groups::list_users(params, context).boxed(),
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
            Self::ListUsers(params) => users::list(params, context).boxed(),
            Self::GetUser(params) => users::get(params, context).boxed(),
            Self::SearchUsers(params) => users::search(params, context).boxed(),
            Self::AddContact(params) => contacts::add(params, context).boxed(),
            Self::RemoveContact(params) => contacts::remove(params, context).boxed(),
            Self::ListContacts(params) => contacts::list(params, context).boxed(),
            Self::BlockUser(params) => contacts::block(params, context).boxed(),
            Self::UnblockUser(params) => contacts::unblock(params, context).boxed(),
            Self::ListBlocked(params) => contacts::list_blocked(params, context).boxed(),
            Self::SendNotification(params) => notifications::send(params, context).boxed(),
            Self::ListNotifications(params) => notifications::list(params, context).boxed(),
            Self::ReadNotifications(params) => notifications::read(params, context).boxed(),
            Self::SearchMessages(params) => search::messages(params, context).boxed(),
            Self::Sync(params) => sync::sync(params, context).boxed(),
        }
    }

    /// Whether it may run beside other sends of the same socket. Anything else waits for what came
    /// before it and is waited for by what comes after.
    #[must_use]
    pub fn is_send(&self) -> bool {
        matches!(self, Self::MessageInGroup(_) | Self::PrivateMessage(_))
    }
}
