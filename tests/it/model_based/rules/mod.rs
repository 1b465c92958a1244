//! What every request does: whether it is refused, what it changes, what it replies, and which sockets get
//! pushes.

mod blocks;
mod conversations;
mod groups;
mod messages;

use serde_json::{Value, json};

use super::operations::{Operation, Request, SOCKETS, Target};
use super::state::Model;

/// The `params` of the reply, or the `code` of the refusal.
pub type Reply = Result<Value, &'static str>;

/// The reply and the pushes of a request.
pub struct Outcome {
    pub reply: Reply,
    /// The pushes of each socket, in their order.
    pub pushes: Vec<Vec<Value>>,
}

/// A request that is being applied: its sender, the id that the server gave to what it created, and the
/// pushes so far.
struct Call {
    socket: usize,
    me: usize,
    given: i64,
    pushes: Vec<Vec<Value>>,
}

/// The sockets that get a push.
#[derive(Clone, Copy, PartialEq)]
enum To {
    /// All sockets, as in the first protocol.
    All,
    /// The sockets that subscribed to it.
    Subscribers,
}

impl Model {
    /// Applies a request. The ids that the server gave to a new message or group are taken as given; the
    /// model determines everything else.
    pub fn apply(&mut self, operation: &Operation, given: Option<i64>) -> Outcome {
        self.now += 1;
        let Operation { socket, request } = operation;
        let pushes = vec![Vec::new(); SOCKETS.len()];
        let mut call = Call { socket: *socket, me: SOCKETS[*socket], given: given.unwrap_or_default(), pushes };
        let reply = match request {
            Request::PrivateMessage(to, text) => self.send(&mut call, Target::User(*to), text, None),
            Request::MessageInGroup(group, text) => self.send(&mut call, Target::Group(*group), text, None),
            Request::ReplyMessage(nth, text) => self.reply(&mut call, *nth, text),
            Request::EditMessage(nth, content) => self.edit(&mut call, *nth, content),
            Request::DeleteMessage(nth) => self.delete(&mut call, *nth),
            Request::ReactToMessage(nth, reaction) => self.react(&mut call, *nth, *reaction),
            Request::ReadMessages(target, seq) => self.read(&mut call, *target, *seq),
            Request::DeliveredMessages(target, seq) => self.deliver(&mut call, *target, *seq),
            Request::OpenConversation(target) => self.open(&call, *target),
            Request::CloseConversation(target) => Ok(self.close(&call, *target)),
            Request::RemoveConversation(target) => self.remove(&mut call, *target),
            Request::MarkSpam(target, spam) => self.mark_spam(&mut call, *target, *spam),
            Request::NewGroup(users) => self.new_group(&mut call, users),
            Request::AddUserInGroup(group, user) => self.add_user(&mut call, *group, *user),
            Request::LeaveGroup(group) => self.leave(&mut call, *group),
            Request::RemoveUserFromGroup(group, user) => self.remove_user(&mut call, *group, *user),
            Request::AddGroupAdmin(group, user) => self.set_admin(&mut call, *group, *user, true),
            Request::RemoveGroupAdmin(group, user) => self.set_admin(&mut call, *group, *user, false),
            Request::RenameGroup(group, name) => self.rename(&mut call, *group, name),
            Request::DropGroup(group) => self.drop_group(&mut call, *group),
            Request::BlockUser(user) => self.block(&mut call, *user),
            Request::UnblockUser(user) => Ok(self.unblock(&mut call, *user)),
        };
        Outcome { reply, pushes: call.pushes }
    }

    /// Pushes to all sockets but the one that caused it; the other sockets of the same user get it only if
    /// they subscribed to `own`.
    fn push(&self, call: &mut Call, users: &[usize], to: To, kind: &str, body: &Value) {
        for (place, socket) in self.sockets.iter().enumerate() {
            let is_told = if socket.user == call.me {
                place != call.socket && socket.wants_all
            } else {
                to == To::All || socket.wants_all
            };
            if users.contains(&socket.user) && is_told {
                call.pushes[place].push(frame(kind, body));
            }
        }
    }
}

fn frame(kind: &str, params: &Value) -> Value {
    json!({ "type": kind, "success": true, "params": params })
}

fn item(item: Value) -> Value {
    let mut body = nothing();
    body["item"] = item;
    body
}

/// The `params` of a success without an item. `item` is left out on the wire.
fn nothing() -> Value {
    json!({ "data": null, "message": null, "senderName": null, "item": null })
}
