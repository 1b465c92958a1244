//! What somebody may ask for: a frame whose ids are not known before it is sent.

use std::fmt;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::state::Model;

/// People of a case. Few, so that they have to do with each other.
pub const USERS: usize = 3;
/// Whose each socket is. The one at [`QUIET`] asked for nothing, as clients of section 3 do; all
/// others asked for `all`.
pub const SOCKETS: [usize; 5] = [0, 0, 1, 1, 2];
/// The socket that asked for nothing.
pub const QUIET: usize = 3;

/// A frame, and over which socket it goes.
#[derive(Clone)]
pub struct Operation {
    pub socket: usize,
    pub request: Request,
}

/// A user, a group or a message of the case, or one that does not exist.
#[derive(Clone, Copy, Debug)]
pub enum Thing {
    /// In the order of their ids.
    User(usize),
    /// The newest is 0.
    Group(usize),
    /// The newest is 0.
    Message(usize),
}

/// A conversation, as a request names it.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    User(usize),
    Group(usize),
}

/// A message as it is to be sent.
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
    /// `type` and `params`, with the ids that `id` says.
    pub fn frame(&self, id: &dyn Fn(Thing) -> Value) -> (&'static str, Value) {
        use Thing::{Group, Message, User};
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
    /// The conversation that it is about, where there is one; `user` is who asks.
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

/// As in `user 0, socket 1: privateMessage {"content":"tea","receiverId":"user 2"}`.
impl fmt::Debug for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |thing| match thing {
            Thing::User(nth) if nth < USERS => json!(format!("user {nth}")),
            Thing::User(_) => json!("nobody"),
            Thing::Group(0) => json!("the newest group"),
            Thing::Group(nth) => json!(format!("the group {nth} before the newest")),
            Thing::Message(0) => json!("the newest message"),
            Thing::Message(nth) => json!(format!("the message {nth} before the newest")),
        };
        let (kind, params) = self.request.frame(&name);
        write!(formatter, "user {}, socket {}: {kind} {params}", SOCKETS[self.socket], self.socket)
    }
}

/// A case: up to so many requests. It begins with a group, so that more of them find one.
pub fn any_case(most: usize) -> impl Strategy<Value = Vec<Operation>> {
    let rest = prop::collection::vec(any_operation_of(any_request()), 1..most);
    (any_operation_of(new_group()), rest).prop_map(|(group, rest)| [vec![group], rest].concat())
}

/// By anybody.
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

/// One of them, or rarely nobody.
fn user() -> impl Strategy<Value = usize> {
    prop_oneof![12 => 0..USERS, 1 => Just(USERS)]
}

/// One of the newest groups, which may not be there yet.
fn group() -> impl Strategy<Value = usize> {
    prop_oneof![9 => Just(0_usize), 3 => Just(1), 1 => Just(2)]
}

/// One of the newest messages.
fn message() -> impl Strategy<Value = usize> {
    prop_oneof![4 => Just(0_usize), 3 => Just(1), 2 => 2..6_usize]
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![user().prop_map(Target::User), group().prop_map(Target::Group)]
}

/// Up to where, if not to the end; past the end as well.
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
