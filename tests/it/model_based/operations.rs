//! The requests of a case: frames whose ids are not known before they are sent.

use std::fmt;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::state::Model;

/// The users of a case: few, so that they interact.
pub const USERS: usize = 3;
/// The user of each socket. The one at [`QUIET`] subscribed to nothing, like a client of the first
/// protocol; all others subscribed to `all`.
pub const SOCKETS: [usize; 5] = [0, 0, 1, 1, 2];
/// The socket that subscribed to nothing.
pub const QUIET: usize = 3;

/// A request, and the socket that sends it.
#[derive(Clone)]
pub struct Operation {
    pub socket: usize,
    pub request: Request,
}

/// A user, a group or a message of the case, or one that does not exist.
#[derive(Clone, Copy, Debug)]
pub enum Reference {
    /// Counted in the order of their ids.
    User(usize),
    /// Counted from the newest, which is 0.
    Group(usize),
    /// Counted from the newest, which is 0.
    Message(usize),
}

/// A conversation, as a request names it.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    User(usize),
    Group(usize),
}

/// The content of a message to send.
#[derive(Clone, Debug)]
pub struct Text {
    pub content: &'static str,
    pub client_id: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub enum Request {
    PrivateMessage(usize, Text),
    MessageInGroup(usize, Text),
    ReplyMessage(usize, Text),
    EditMessage(usize, &'static str),
    DeleteMessage(usize),
    ReactToMessage(usize, Option<&'static str>),
    ReadMessages(Target, Option<i64>),
    DeliveredMessages(Target, Option<i64>),
    OpenConversation(Target),
    CloseConversation(Target),
    RemoveConversation(Target),
    MarkSpam(Target, bool),
    NewGroup(Vec<usize>),
    AddUserInGroup(usize, usize),
    LeaveGroup(usize),
    RemoveUserFromGroup(usize, usize),
    AddGroupAdmin(usize, usize),
    RemoveGroupAdmin(usize, usize),
    RenameGroup(usize, &'static str),
    DropGroup(usize),
    BlockUser(usize),
    UnblockUser(usize),
}

impl Request {
    /// Returns `type` and `params`, with the ids that `id` gives.
    pub fn frame(&self, id: &dyn Fn(Reference) -> Value) -> (&'static str, Value) {
        use Reference::{Group, Message, User};
        let with_target = |target: &Target, mut params: Value| {
            match target {
                Target::User(user) => params["receiverId"] = id(User(*user)),
                Target::Group(group) => params["groupId"] = id(Group(*group)),
            }
            params
        };
        let with_text = |text: &Text, mut params: Value| {
            params["content"] = json!(text.content);
            if let Some(client_id) = text.client_id {
                params["clientMessageId"] = json!(client_id);
            }
            params
        };
        let up_to = |seq: &Option<i64>| seq.map_or(json!({}), |seq| json!({ "seq": seq }));
        let in_group = |group: &usize| json!({ "groupId": id(Group(*group)) });
        let user_of = |group: &usize, user: &usize| json!({ "groupId": id(Group(*group)), "userId": id(User(*user)) });
        match self {
            Self::PrivateMessage(to, text) => {
                ("privateMessage", with_text(text, json!({ "receiverId": id(User(*to)) })))
            }
            Self::MessageInGroup(group, text) => ("messageInGroup", with_text(text, in_group(group))),
            Self::ReplyMessage(to, text) => ("replyMessage", with_text(text, json!({ "messageId": id(Message(*to)) }))),
            Self::EditMessage(nth, content) => {
                ("editMessage", json!({ "messageId": id(Message(*nth)), "content": content }))
            }
            Self::DeleteMessage(nth) => ("deleteMessage", json!({ "messageId": id(Message(*nth)) })),
            Self::ReactToMessage(nth, reaction) => {
                ("reactToMessage", json!({ "messageId": id(Message(*nth)), "reaction": reaction }))
            }
            Self::ReadMessages(target, seq) => ("readMessages", with_target(target, up_to(seq))),
            Self::DeliveredMessages(target, seq) => ("deliveredMessages", with_target(target, up_to(seq))),
            Self::OpenConversation(target) => ("openConversation", with_target(target, json!({}))),
            Self::CloseConversation(target) => ("closeConversation", with_target(target, json!({}))),
            Self::RemoveConversation(target) => ("removeConversation", with_target(target, json!({}))),
            Self::MarkSpam(target, spam) => ("markSpam", with_target(target, json!({ "spam": spam }))),
            Self::NewGroup(users) => {
                let ids: Vec<Value> = users.iter().map(|user| id(User(*user))).collect();
                ("newGroup", json!({ "groupName": "Tea", "userIds": ids }))
            }
            Self::AddUserInGroup(group, user) => ("addUserInGroup", user_of(group, user)),
            Self::LeaveGroup(group) => ("leaveGroup", in_group(group)),
            Self::RemoveUserFromGroup(group, user) => ("removeUserFromGroup", user_of(group, user)),
            Self::AddGroupAdmin(group, user) => ("addGroupAdmin", user_of(group, user)),
            Self::RemoveGroupAdmin(group, user) => ("removeGroupAdmin", user_of(group, user)),
            Self::RenameGroup(group, name) => {
                ("renameGroup", json!({ "groupId": id(Group(*group)), "groupName": name }))
            }
            Self::DropGroup(group) => ("dropGroup", in_group(group)),
            Self::BlockUser(user) => ("blockUser", json!({ "userId": id(User(*user)) })),
            Self::UnblockUser(user) => ("unblockUser", json!({ "userId": id(User(*user)) })),
        }
    }
}

impl Request {
    /// Returns the conversation that the request is about, if there is one; `user` sends it.
    pub fn conversation(&self, model: &Model, user: usize) -> Option<usize> {
        match self {
            Self::PrivateMessage(other, _) | Self::BlockUser(other) | Self::UnblockUser(other) => {
                model.dialog(user, *other)
            }
            Self::ReplyMessage(nth, _)
            | Self::EditMessage(nth, _)
            | Self::DeleteMessage(nth)
            | Self::ReactToMessage(nth, _) => model.message(*nth).map(|message| model.messages[message].conversation),
            Self::ReadMessages(target, _)
            | Self::DeliveredMessages(target, _)
            | Self::OpenConversation(target)
            | Self::CloseConversation(target)
            | Self::RemoveConversation(target)
            | Self::MarkSpam(target, _) => match target {
                Target::User(other) => model.dialog(user, *other),
                Target::Group(nth) => model.group(*nth),
            },
            Self::NewGroup(_) => model.group(0),
            Self::MessageInGroup(nth, _)
            | Self::AddUserInGroup(nth, _)
            | Self::LeaveGroup(nth)
            | Self::RemoveUserFromGroup(nth, _)
            | Self::AddGroupAdmin(nth, _)
            | Self::RemoveGroupAdmin(nth, _)
            | Self::RenameGroup(nth, _)
            | Self::DropGroup(nth) => model.group(*nth),
        }
    }
}

/// Formats as `user 0, socket 1: privateMessage {"content":"tea","receiverId":"user 2"}`.
impl fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |thing| match thing {
            Reference::User(nth) if nth < USERS => json!(format!("user {nth}")),
            Reference::User(_) => json!("nobody"),
            Reference::Group(0) => json!("the newest group"),
            Reference::Group(nth) => json!(format!("the group {nth} before the newest")),
            Reference::Message(0) => json!("the newest message"),
            Reference::Message(nth) => json!(format!("the message {nth} before the newest")),
        };
        let (kind, params) = self.request.frame(&name);
        write!(formatter, "user {}, socket {}: {kind} {params}", SOCKETS[self.socket], self.socket)
    }
}

/// Generates a case of up to so many requests. It begins with a group, so that more requests find one.
pub fn any_case(most: usize) -> impl Strategy<Value = Vec<Operation>> {
    let rest = prop::collection::vec(any_operation_of(any_request()), 1..most);
    (any_operation_of(new_group()), rest).prop_map(|(group, rest)| [vec![group], rest].concat())
}

/// Generates an operation of any user.
fn any_operation_of(request: impl Strategy<Value = Request>) -> impl Strategy<Value = Operation> {
    (0..SOCKETS.len(), request).prop_map(|(socket, request)| Operation { socket, request })
}

fn any_request() -> impl Strategy<Value = Request> {
    prop_oneof![
        8 => (user(), text()).prop_map(|(to, text)| Request::PrivateMessage(to, text)),
        8 => (group(), text()).prop_map(|(group, text)| Request::MessageInGroup(group, text)),
        4 => (message(), text()).prop_map(|(to, text)| Request::ReplyMessage(to, text)),
        6 => (message(), content()).prop_map(|(nth, content)| Request::EditMessage(nth, content)),
        2 => message().prop_map(Request::DeleteMessage),
        4 => (message(), reaction()).prop_map(|(nth, reaction)| Request::ReactToMessage(nth, reaction)),
        4 => (target(), seq()).prop_map(|(target, seq)| Request::ReadMessages(target, seq)),
        2 => (target(), seq()).prop_map(|(target, seq)| Request::DeliveredMessages(target, seq)),
        2 => target().prop_map(Request::OpenConversation),
        1 => target().prop_map(Request::CloseConversation),
        2 => target().prop_map(Request::RemoveConversation),
        2 => (target(), any::<bool>()).prop_map(|(target, spam)| Request::MarkSpam(target, spam)),
        2 => new_group(),
        4 => (group(), user()).prop_map(|(group, user)| Request::AddUserInGroup(group, user)),
        2 => group().prop_map(Request::LeaveGroup),
        2 => (group(), user()).prop_map(|(group, user)| Request::RemoveUserFromGroup(group, user)),
        2 => (group(), user()).prop_map(|(group, user)| Request::AddGroupAdmin(group, user)),
        2 => (group(), user()).prop_map(|(group, user)| Request::RemoveGroupAdmin(group, user)),
        1 => (group(), group_name()).prop_map(|(group, name)| Request::RenameGroup(group, name)),
        1 => group().prop_map(Request::DropGroup),
        2 => user().prop_map(Request::BlockUser),
        2 => user().prop_map(Request::UnblockUser),
    ]
}

fn new_group() -> impl Strategy<Value = Request> {
    prop::collection::vec(user(), 0..4).prop_map(Request::NewGroup)
}

/// Generates one of the users, or rarely one that does not exist.
fn user() -> impl Strategy<Value = usize> {
    prop_oneof![12 => 0..USERS, 1 => Just(USERS)]
}

/// Generates one of the newest groups, which may not exist yet.
fn group() -> impl Strategy<Value = usize> {
    prop_oneof![9 => Just(0_usize), 3 => Just(1), 1 => Just(2)]
}

/// Generates one of the newest messages.
fn message() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0_usize), 3 => Just(1), 2 => 2..6_usize]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![user().prop_map(Target::User), group().prop_map(Target::Group)]
}

/// Generates how far to mark, if not to the end; past the end as well.
fn seq() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(1..6_i64)
}

fn content() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["tea", "cake", "tea and cake", "\"é\\\u{1fad6}\n"])
}

fn group_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["Tea", "Chess"])
}

fn text() -> impl Strategy<Value = Text> {
    let client_id = prop::option::weighted(0.3, prop::sample::select(vec!["a", "b"]));
    (content(), client_id).prop_map(|(content, client_id)| Text { content, client_id })
}

fn reaction() -> impl Strategy<Value = Option<&'static str>> {
    prop::option::weighted(0.7, prop::sample::select(vec!["+1", "\u{1f44d}"]))
}
