//! What every request does: whether it is refused, what it changes, what it answers, and which
//! socket is told what. The product, in as few words as there are.

use serde_json::{Value, json};

use super::operations::{Operation, Request, SOCKETS, Target, Text};
use super::state::{Conversation, Kind, Member, Message, Model};
use super::views::TIME;

/// `params` of the reply, or the `code` of the refusal.
pub type Reply = Result<Value, &'static str>;

/// What a request leads to.
pub struct Outcome {
    pub reply: Reply,
    /// The pushes of each socket, in their order.
    pub pushes: Vec<Vec<Value>>,
}

/// A request on its way: who asks, the id that the server gave what it made, who is told what.
struct Call {
    socket: usize,
    me: usize,
    given: i64,
    pushes: Vec<Vec<Value>>,
}

/// Who is pushed something.
#[derive(Clone, Copy, PartialEq)]
enum To {
    /// Every socket: the pushes of section 3.
    All,
    /// The sockets that asked for it.
    WhoAsked,
}

impl Model {
    /// Does what is asked. The ids that the server gave to a new message or group are taken as
    /// given; all else is for the model to say.
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
        };
        Outcome { reply, pushes: call.pushes }
    }

    fn send(&mut self, call: &mut Call, to: Target, text: &Text, reply_to: Option<usize>) -> Reply {
        if let Some(receipt) = self.repeat(call, text) {
            return Ok(receipt);
        }
        let conversation = match to {
            Target::User(other) if other >= self.people.len() => return Err("not_found"),
            Target::User(other) => self.dialog(call.me, other).unwrap_or_else(|| self.begin_dialog(call.me, other)),
            Target::Group(nth) => self.group_for(call.me, nth)?,
        };
        Ok(self.store(call, conversation, text, reply_to))
    }

    fn reply(&mut self, call: &mut Call, nth: usize, text: &Text) -> Reply {
        let first = self.message(nth).ok_or("not_found")?;
        let conversation = self.messages[first].conversation;
        let is_group = self.group_id(conversation).is_some();
        if !is_group && self.conversations[conversation].member(call.me).is_none() {
            return Err("not_found");
        }
        if let Some(receipt) = self.repeat(call, text) {
            return Ok(receipt);
        }
        if self.conversations[conversation].members.is_empty() {
            return Err("not_found");
        }
        self.conversations[conversation].member(call.me).ok_or("not_a_member")?;
        Ok(self.store(call, conversation, text, Some(first)))
    }

    /// A repeat answers with the first one's receipt, wherever that went, and does nothing.
    fn repeat(&self, call: &Call, text: &Text) -> Option<Value> {
        let client_id = text.client_id?;
        let first = self.messages.iter().find(|first| first.sender == call.me && first.client_id == Some(client_id))?;
        Some(item(receipt(first, true)))
    }

    fn store(&mut self, call: &mut Call, conversation: usize, text: &Text, reply_to: Option<usize>) -> Value {
        let (me, now) = (call.me, self.now);
        let message = Message {
            id: call.given,
            conversation,
            seq: self.last_seq(conversation) + 1,
            sender: me,
            content: text.content.to_owned(),
            client_id: text.client_id,
            reply_to,
            reactions: Vec::new(),
            deleted: false,
        };
        let reply = item(receipt(&message, false));
        let body = json!({
            "data": null, "message": text.content, "senderName": self.people[me].name, "item": self.message_item(&message),
        });
        let kind = if self.group_id(conversation).is_some() { "messageInGroup" } else { "privateMessage" };
        self.push(call, &self.conversations[conversation].users(), To::All, kind, &body);
        self.notify(call, &message);
        self.conversations[conversation].moved = now;
        self.messages.push(message);
        reply
    }

    /// Of a new message, to sockets that asked for it and do not have the conversation open, unless
    /// it is spam to who is there.
    fn notify(&self, call: &mut Call, message: &Message) {
        for member in &self.conversations[message.conversation].members {
            let mut data = self.target(member.user, message.conversation);
            data["messageId"] = json!(message.id);
            data["seq"] = json!(message.seq);
            let notification = frame(
                "notification",
                &item(json!({
                    "notificationId": null, "kind": "message", "userId": self.people[call.me].id,
                    "userName": self.people[call.me].name, "data": data, "createdAt": TIME, "readAt": null,
                })),
            );
            for (place, socket) in self.sockets.iter().enumerate() {
                let is_open = socket.open.contains(&message.conversation);
                if socket.user == member.user && member.user != call.me && socket.wants_all && !is_open && !member.spam
                {
                    call.pushes[place].push(notification.clone());
                }
            }
        }
    }

    fn edit(&mut self, call: &mut Call, nth: usize, content: &str) -> Reply {
        let message = self.message_for(call.me, nth)?;
        if self.messages[message].sender != call.me {
            return Err("not_author");
        }
        self.still_there(message)?;
        content.clone_into(&mut self.messages[message].content);
        Ok(self.tell_of_message(call, message, "editMessage"))
    }

    fn delete(&mut self, call: &mut Call, nth: usize) -> Reply {
        let message = self.message_for(call.me, nth)?;
        let conversation = self.messages[message].conversation;
        if self.messages[message].sender != call.me && !self.membership(call.me, conversation).is_admin {
            return Err("not_author");
        }
        if self.messages[message].deleted {
            return Ok(nothing());
        }
        let deleted = &mut self.messages[message];
        deleted.content.clear();
        deleted.reactions.clear();
        deleted.deleted = true;
        Ok(self.tell_of_message(call, message, "deleteMessage"))
    }

    fn react(&mut self, call: &mut Call, nth: usize, reaction: Option<&'static str>) -> Reply {
        let place = self.message_for(call.me, nth)?;
        self.still_there(place)?;
        let message = &mut self.messages[place];
        let mine = message.reactions.iter().position(|(user, _)| *user == call.me);
        match (mine, reaction) {
            (None, None) => return Ok(nothing()),
            (Some(mine), reaction) if reaction == Some(message.reactions[mine].1) => return Ok(nothing()),
            (Some(mine), Some(reaction)) => message.reactions[mine].1 = reaction,
            (Some(mine), None) => drop(message.reactions.remove(mine)),
            (None, Some(reaction)) => message.reactions.push((call.me, reaction)),
        }
        let message = self.message_item(&self.messages[place]);
        let mut change = json!({ "userId": self.people[call.me].id, "reaction": reaction });
        for same in ["messageId", "seq", "senderId", "receiverId", "groupId"] {
            change[same] = message[same].clone();
        }
        let body = item(change);
        let users = self.conversations[self.messages[place].conversation].users();
        self.push(call, &users, To::WhoAsked, "reactToMessage", &body);
        Ok(body)
    }

    fn read(&mut self, call: &mut Call, target: Target, seq: Option<i64>) -> Reply {
        let Some(conversation) = self.find(call.me, target)? else { return Ok(self.nowhere(call.me, target)) };
        let last = self.last_seq(conversation);
        let member = self.membership(call.me, conversation);
        let seq = seq.unwrap_or(last).min(last);
        let moves = seq > member.read;
        if moves {
            member.read = seq;
            member.said_read = true;
            if seq > member.delivered {
                member.delivered = seq;
                member.said_delivered = true;
            }
        }
        let (seq, said) = (member.read, member.said_read);
        Ok(self.tell_of_marker(call, conversation, "readMessages", (seq, said, moves)))
    }

    fn deliver(&mut self, call: &mut Call, target: Target, seq: Option<i64>) -> Reply {
        let Some(conversation) = self.find(call.me, target)? else { return Ok(self.nowhere(call.me, target)) };
        let last = self.last_seq(conversation);
        let member = self.membership(call.me, conversation);
        let seq = seq.unwrap_or(last).min(last);
        let moves = seq > member.delivered;
        if moves {
            member.delivered = seq;
            member.said_delivered = true;
        }
        let (seq, said) = (member.delivered, member.said_delivered);
        Ok(self.tell_of_marker(call, conversation, "deliveredMessages", (seq, said, moves)))
    }

    fn open(&mut self, call: &Call, target: Target) -> Reply {
        let conversation = match (self.find(call.me, target)?, target) {
            (Some(conversation), _) => conversation,
            (None, Target::User(other)) => self.begin_dialog(call.me, other),
            (None, Target::Group(_)) => return Err("not_found"),
        };
        self.sockets[call.socket].open.insert(conversation);
        let mut reply = item(self.conversation_item(call.me, conversation));
        reply["data"] = self.items(call.me, conversation).into_iter().take(20).collect();
        Ok(reply)
    }

    /// Never refused: what is not open need not be closed.
    fn close(&mut self, call: &Call, target: Target) -> Value {
        let conversation = match target {
            Target::User(other) => self.dialog(call.me, other),
            Target::Group(nth) => self.group(nth),
        };
        if let Some(conversation) = conversation {
            self.sockets[call.socket].open.remove(&conversation);
        }
        nothing()
    }

    fn remove(&mut self, call: &mut Call, target: Target) -> Reply {
        let conversation = self.find(call.me, target)?.ok_or("not_found")?;
        let last = self.last_seq(conversation);
        let member = self.membership(call.me, conversation);
        member.cleared = last;
        member.removed = true;
        let body = item(self.target(call.me, conversation));
        self.push(call, &[call.me], To::All, "removeConversation", &body);
        Ok(body)
    }

    fn mark_spam(&mut self, call: &mut Call, target: Target, spam: bool) -> Reply {
        let conversation = self.find(call.me, target)?.ok_or("not_found")?;
        let member = self.membership(call.me, conversation);
        let is_new = member.spam != spam;
        member.spam = spam;
        let mut body = item(self.target(call.me, conversation));
        body["item"]["spam"] = json!(spam);
        if is_new {
            self.push(call, &[call.me], To::All, "markSpam", &body);
        }
        Ok(body)
    }

    fn new_group(&mut self, call: &mut Call, users: &[usize]) -> Reply {
        if users.iter().any(|user| *user >= self.people.len()) {
            return Err("not_found");
        }
        let mut added: Vec<usize> = users.iter().copied().filter(|user| *user != call.me).collect();
        added.sort_unstable();
        added.dedup();
        let joined = self.now;
        let creator = Member { user: call.me, joined, is_admin: true, ..Member::default() };
        let others = added.iter().map(|user| Member { user: *user, joined, ..Member::default() });
        let members = std::iter::once(creator).chain(others).collect();
        let kind = Kind::Group { id: call.given, name: "Tea".to_owned() };
        self.conversations.push(Conversation { kind, members, moved: joined });
        let group = self.conversations.len() - 1;
        for user in added {
            self.tell_of_member(call, group, user, To::All, ("addUserInGroup", "added in group."));
        }
        Ok(item(json!({ "groupId": call.given, "groupName": "Tea" })))
    }

    fn add_user(&mut self, call: &mut Call, nth: usize, user: usize) -> Reply {
        let group = self.group_for(call.me, nth)?;
        if user >= self.people.len() {
            return Err("not_found");
        }
        if self.conversations[group].member(user).is_some() {
            return Err("already_a_member");
        }
        // What was said before is there to be read, and not unread.
        let last = self.last_seq(group);
        let member = Member { user, joined: self.now, read: last, delivered: last, ..Member::default() };
        self.conversations[group].members.push(member);
        self.tell_of_member(call, group, user, To::All, ("addUserInGroup", "added in group."));
        Ok(nothing())
    }

    fn leave(&mut self, call: &mut Call, nth: usize) -> Reply {
        let group = self.group_for(call.me, nth)?;
        self.tell_of_member(call, group, call.me, To::All, ("leaveGroup", "has left the group."));
        self.forget_member(group, call.me);
        let members = &mut self.conversations[group].members;
        if !members.iter().any(|member| member.is_admin)
            && let Some(next) = members.iter_mut().min_by_key(|member| (member.joined, member.user))
        {
            next.is_admin = true;
        }
        Ok(nothing())
    }
}

/// What the rules have in common.
impl Model {
    fn begin_dialog(&mut self, one: usize, other: usize) -> usize {
        let (low, high) = (one.min(other), one.max(other));
        let mut users = vec![low, high];
        users.dedup();
        let members = users.into_iter().map(|user| Member { user, joined: self.now, ..Member::default() }).collect();
        self.conversations.push(Conversation { kind: Kind::Dialog(low, high), members, moved: self.now });
        self.conversations.len() - 1
    }

    /// A message that `user` may know of.
    fn message_for(&self, user: usize, nth: usize) -> Result<usize, &'static str> {
        let place = self.message(nth).ok_or("not_found")?;
        let message = &self.messages[place];
        let conversation = &self.conversations[message.conversation];
        let is_group = matches!(conversation.kind, Kind::Group { .. });
        match conversation.member(user) {
            None if is_group && !conversation.members.is_empty() => Err("not_a_member"),
            Some(member) if message.seq > member.cleared => Ok(place),
            _ => Err("not_found"),
        }
    }

    fn still_there(&self, message: usize) -> Result<(), &'static str> {
        if self.messages[message].deleted { Err("not_found") } else { Ok(()) }
    }

    fn forget_member(&mut self, group: usize, user: usize) {
        self.conversations[group].members.retain(|member| member.user != user);
        for socket in self.sockets.iter_mut().filter(|socket| socket.user == user) {
            socket.open.remove(&group);
        }
    }

    fn tell_of_message(&self, call: &mut Call, message: usize, kind: &str) -> Value {
        let message = &self.messages[message];
        let body = item(self.message_item(message));
        self.push(call, &self.conversations[message.conversation].users(), To::WhoAsked, kind, &body);
        body
    }

    /// The answer to a marker that is at `seq`, and the push to everybody where it has moved there.
    fn tell_of_marker(
        &self,
        call: &mut Call,
        place: usize,
        kind: &str,
        (seq, said, moved): (i64, bool, bool),
    ) -> Value {
        let conversation = &self.conversations[place];
        let at = said.then_some(TIME);
        for user in conversation.users().into_iter().filter(|_| moved) {
            let mut marker = self.target(user, place);
            marker["userId"] = json!(self.people[call.me].id);
            marker["seq"] = json!(seq);
            marker["at"] = json!(at);
            self.push(call, &[user], To::WhoAsked, kind, &item(marker));
        }
        let me = conversation.member(call.me).expect("a member");
        let mut mine = self.target(call.me, place);
        mine["userId"] = json!(self.people[call.me].id);
        mine["seq"] = json!(seq);
        mine["at"] = json!(at);
        mine["unreadCount"] = json!(self.unread(me, place));
        item(mine)
    }

    /// The answer to a marker in a dialog that has not begun.
    fn nowhere(&self, user: usize, target: Target) -> Value {
        let Target::User(other) = target else { unreachable!("groups have begun") };
        let (other, user) = (self.people[other].id, self.people[user].id);
        item(json!({ "receiverId": other, "userId": user, "seq": 0, "at": null, "unreadCount": 0 }))
    }

    /// Of somebody who is in a group, or was until now.
    fn tell_of_member(&self, call: &mut Call, group: usize, user: usize, to: To, (kind, notice): (&str, &str)) {
        let Kind::Group { id, name } = &self.conversations[group].kind else { unreachable!("a group") };
        let person = &self.people[user];
        let body = json!({
            "data": null,
            "message": format!("User {} {notice}", person.name),
            "senderName": null,
            "item": { "groupId": id, "groupName": name, "userId": person.id, "userName": person.name },
        });
        self.push(call, &self.conversations[group].users(), to, kind, &body);
    }

    /// Not to the socket that caused it, and to the other ones of the same user only where they asked
    /// for `own`.
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
    json!({ "data": null, "message": null, "senderName": null, "item": item })
}

/// A success without anything to say. `item` is left out on the wire.
fn nothing() -> Value {
    json!({ "data": null, "message": null, "senderName": null, "item": null })
}

fn receipt(message: &Message, duplicate: bool) -> Value {
    json!({
        "messageId": message.id, "seq": message.seq, "createdAt": TIME, "clientMessageId": message.client_id,
        "duplicate": duplicate,
    })
}
