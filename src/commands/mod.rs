//! The commands: what a client may request. The table below is the only list of the frames of a socket; it makes the
//! [`Command`] enum, parses parameters, dispatches, and feeds the documents of the interface. `accounts/` has the
//! commands that only HTTP offers.
//!
//! A new frame is a row here, its parameters and function in one of the files, a section in docs/frames.md and a
//! test that begins with its name.

pub mod accounts;
pub mod chat_list;
pub mod contacts;
mod context;
pub mod conversations;
pub mod edits;
pub mod groups;
pub mod history;
pub mod items;
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

use std::future::ready;
use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};

pub use self::context::{Context, Outcome};
// `accounts/deletion.rs` uses this and `offline_event`; files of `commands/` do not import each other.
pub(super) use self::groups::continue_deletion;
pub use self::paging::PagingState;
pub(super) use self::presence::offline_event;
pub use self::pushes::pushes;
use crate::config::Limits;
use crate::delivery::socket::Socket;
use crate::error::{Code, Error};
use crate::wire::frame::Request;
use crate::wire::items::{
    ConversationDetails, ConversationItem, GroupItem, ListedPersonItem, MessageItem, NotificationItem, OnlineInfo,
    PersonItem, ReactionChange, ReadItem, ReceiptItem, RemovedItem, SpamItem,
};
use crate::wire::params::{Fields, FromFields, ParamsSchema};
use crate::wire::schema::{FrameSchema, NamedSchema};

/// Makes the enum of the commands, their parsing, their dispatch, and their description for the documents.
/// A row is a frame type, the parameters, the call that runs the command, and the parts of its reply: an `item`,
/// or `rows` in `data`. The first line names the arguments that calls may use.
macro_rules! commands {
    (
        |$params:ident, $context:ident, $socket:ident|
        $($(#[doc = $doc:literal])*
        $kind:literal => $variant:ident($type:ty) = $call:expr $(, [$($part:ident $schema:ty),+])?;)*
    ) => {
        /// A parsed request.
        #[derive(Debug)]
        pub enum Command {
            $($(#[doc = $doc])* $variant($type),)*
        }

        impl Command {
            /// Parses the parameters of a request by its type.
            ///
            /// # Errors
            /// `unknown_type`, or `bad_params` with a sentence that names the field at fault.
            pub fn parse(request: &Request<'_>, limits: &Limits) -> Result<Self, Error> {
                let fields = || Fields::of_params(request.params, limits);
                Ok(match request.kind.as_str() {
                    $($kind => Self::$variant(<$type>::from_fields(&fields()?)?),)*
                    _ => return Err(Error::new(Code::UnknownType, "There is no such type")),
                })
            }

            fn dispatch(self, $context: Context, $socket: Arc<Socket>) -> BoxFuture<'static, Result<Outcome, Error>> {
                match self {
                    $(Self::$variant($params) => $call.boxed(),)*
                }
            }

            /// The description of every frame that a client may send, in the order of the table.
            #[must_use]
            pub fn frames(limits: &Limits) -> Vec<FrameSchema> {
                vec![$(FrameSchema {
                    kind: $kind,
                    summary: concat!($($doc),*).trim_ascii(),
                    params: ParamsSchema::of::<$type>(limits).into_schema(),
                    reply: vec![$($((stringify!($part), NamedSchema::of::<$schema>())),+)?],
                }),*]
            }
        }
    };
}

commands! {
    |params, context, socket|
    /// Gives this socket a new token of the same user, so that it outlives the old one.
    "authenticate" => Authenticate(session::Authenticate) = session::authenticate(params, context, socket);
    /// Chooses the additional pushes that this socket gets.
    "subscribe" => Subscribe(session::Subscribe) = session::subscribe(params, context, socket),
        [item session::Subscription];
    /// A page of my conversations with their newest messages, in the older form; new clients use `listConversations`.
    "listLastMessage" => ListLastMessage(chat_list::ListLastMessage) = chat_list::list_last_message(params, context),
        [rows chat_list::LastMessageRow];
    /// A page of my conversations, the one with the newest message first.
    "listConversations" => ListConversations(chat_list::ListConversations)
        = chat_list::list_conversations(params, context), [rows ConversationItem];
    /// Opens a conversation on this socket: creates it if need be, and subscribes to its typing and presence.
    "openConversation" => OpenConversation(conversations::OpenConversation)
        = conversations::open_conversation(params, context, socket), [item ConversationDetails, rows MessageItem];
    /// Ends the subscription of `openConversation`.
    "closeConversation" => CloseConversation(conversations::CloseConversation)
        = ready(Ok(conversations::close_conversation(&params, &context, &socket)));
    /// A conversation with its members.
    "getConversation" => GetConversation(conversations::GetConversation) = conversations::get_conversation(params, context),
        [item ConversationDetails];
    /// Removes a conversation from my lists and clears its history, for me only.
    "removeConversation" => RemoveConversation(conversations::RemoveConversation)
        = conversations::remove_conversation(params, context), [item RemovedItem];
    /// Marks a conversation as spam, for me only, or takes the mark back.
    "markSpam" => MarkSpam(conversations::MarkSpam) = conversations::mark_spam(params, context), [item SpamItem];
    /// A page of the messages of a dialog, the newest first.
    "getlatestMessageDialog" => GetLatestMessageDialog(history::GetLatestMessageDialog)
        = history::get_latest_message_dialog(params, context), [rows history::DialogRow];
    /// A page of the messages of a group, the newest first.
    "getlatestMessageGroup" => GetLatestMessageGroup(history::GetLatestMessageGroup)
        = history::get_latest_message_group(params, context), [rows history::GroupRow];
    /// Creates a group.
    "newGroup" => NewGroup(groups::NewGroup) = groups::new_group(params, context), [item GroupItem];
    /// Adds a user to a group.
    "addUserInGroup" => AddUserInGroup(groups::GroupMemberParams) = groups::add_user_in_group(params, context);
    /// Leaves a group.
    "leaveGroup" => LeaveGroup(groups::GroupParams) = groups::leave_group(params, context);
    /// Removes a user from a group. Admins only.
    "removeUserFromGroup" => RemoveUserFromGroup(groups::GroupMemberParams) = groups::remove_user_from_group(params, context);
    /// Makes a member of a group an admin. Admins only.
    "addGroupAdmin" => AddGroupAdmin(groups::GroupMemberParams) = groups::add_group_admin(params, context);
    /// Makes an admin of a group an ordinary member. Admins only.
    "removeGroupAdmin" => RemoveGroupAdmin(groups::GroupMemberParams) = groups::remove_group_admin(params, context);
    /// Renames a group. Admins only.
    "renameGroup" => RenameGroup(groups::RenameGroup) = groups::rename_group(params, context);
    /// Ends a group for all of its members. Admins only.
    "dropGroup" => DropGroup(groups::GroupParams) = groups::drop_group(params, context);
    /// A page of the members of a group, those who joined first at its beginning.
    "listGroupUsers" => ListGroupUsers(groups::ListGroupUsers) = groups::list_group_users(params, context),
        [rows groups::GroupUserRow];
    /// Sends a message to a group.
    "messageInGroup" => MessageInGroup(messages::MessageInGroup) = messages::message_in_group(params, &context),
        [item ReceiptItem];
    /// Sends a message to a user.
    "privateMessage" => PrivateMessage(messages::PrivateMessage) = messages::private_message(params, &context),
        [item ReceiptItem];
    /// Replies to a message, in its conversation.
    "replyMessage" => ReplyMessage(messages::ReplyMessage) = messages::reply_message(params, context), [item ReceiptItem];
    /// Changes the content of my message.
    "editMessage" => EditMessage(edits::EditMessage) = edits::edit_message(params, context), [item MessageItem];
    /// Deletes the content of a message.
    "deleteMessage" => DeleteMessage(edits::DeleteMessage) = edits::delete_message(params, context), [item MessageItem];
    /// Sets or removes my reaction to a message.
    "reactToMessage" => ReactToMessage(edits::ReactToMessage) = edits::react_to_message(params, context), [item ReactionChange];
    /// Moves my read marker forward.
    "readMessages" => ReadMessages(receipts::ReadMessages) = receipts::read_messages(params, context),
        [item receipts::OwnMarkerItem];
    /// Moves my delivery marker forward.
    "deliveredMessages" => DeliveredMessages(receipts::DeliveredMessages) = receipts::delivered_messages(params, context),
        [item receipts::OwnMarkerItem];
    /// Tells the others that I am typing, or have stopped.
    "typing" => Typing(presence::Typing) = presence::typing(params, context);
    /// Tells whether the app of this socket is in the foreground.
    "setPresence" => SetPresence(presence::SetPresence) = ready(Ok(presence::set_presence(&params, &context, &socket)));
    /// The presence of these users.
    "getOnlineInfo" => GetOnlineInfo(presence::GetOnlineInfo) = presence::get_online_info(params, context),
        [rows OnlineInfo];
    /// A page of all users, in the order of sign-up.
    "listUsers" => ListUsers(users::ListUsers) = users::list_users(params, context), [rows PersonItem];
    /// A user by id, or myself.
    "getUser" => GetUser(users::GetUser) = users::get_user(params, context), [item PersonItem];
    /// Users by a part of their name, or by their e-mail address.
    "searchUsers" => SearchUsers(users::SearchUsers) = users::search_users(params, context), [rows PersonItem];
    /// Adds a user to my contacts.
    "addContact" => AddContact(contacts::AddContact) = contacts::add_contact(params, context);
    /// Removes a user from my contacts.
    "removeContact" => RemoveContact(contacts::RemoveContact) = contacts::remove_contact(params, context);
    /// A page of my contacts.
    "listContacts" => ListContacts(contacts::ListContacts) = contacts::list_contacts(params, context),
        [rows ListedPersonItem];
    /// Blocks a user.
    "blockUser" => BlockUser(contacts::BlockUser) = contacts::block_user(params, context);
    /// Unblocks a user.
    "unblockUser" => UnblockUser(contacts::UnblockUser) = contacts::unblock_user(params, context);
    /// A page of the users that I have blocked.
    "listBlocked" => ListBlocked(contacts::ListBlocked) = contacts::list_blocked(params, context),
        [rows ListedPersonItem];
    /// Sends a notification to a user.
    "sendNotification" => SendNotification(notifications::SendNotification) = notifications::send_notification(params, context),
        [item notifications::SentItem];
    /// A page of my notifications.
    "listNotifications" => ListNotifications(notifications::ListNotifications) = notifications::list_notifications(params, context),
        [rows NotificationItem];
    /// Marks one of my notifications as read, or all of them.
    "readNotifications" => ReadNotifications(notifications::ReadNotifications) = notifications::read_notifications(params, context),
        [item ReadItem];
    /// Full-text search in the messages that I may read, the newest first.
    "searchMessages" => SearchMessages(search::SearchMessages) = search::search_messages(params, context),
        [item search::SearchItem, rows MessageItem];
    /// The changes of my conversations since a cursor.
    "sync" => Sync(sync::Sync) = sync::sync(params, context), [item sync::SyncItem, rows sync::ChangeRow];
}

impl Command {
    /// Runs the command. A send is queued with the writer when this returns, so that sends keep their order and
    /// none waits for the one before; any other command starts when the future is first polled.
    #[must_use]
    pub fn apply(self, context: Context, socket: Arc<Socket>) -> BoxFuture<'static, Result<Outcome, Error>> {
        if self.is_send() {
            return self.dispatch(context, socket);
        }
        async move {
            // Limits the requests that a user runs at once over all sockets, so that slow ones cannot take every
            // database connection.
            let app = Arc::clone(&context.app);
            let _permit = app.acquire_request_permit(context.user, context.history).await?;
            self.dispatch(context, socket).await.inspect_err(|error| app.db.record_failure(error))
        }
        .boxed()
    }

    /// Whether this is `privateMessage` or `messageInGroup`, which run concurrently with other sends of their socket.
    /// `replyMessage` does not: it looks up its conversation first. Any other command waits for everything before it,
    /// and everything after it waits for it.
    #[must_use]
    pub fn is_send(&self) -> bool {
        matches!(self, Self::MessageInGroup(_) | Self::PrivateMessage(_))
    }
}
