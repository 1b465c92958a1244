//! Messages: sending, editing, deleting and reacting.

use serde_json::{Value, json};

use super::super::operations::{Target, Text};
use super::super::state::{Kind, Message, Model};
use super::super::views::TIME;
use super::{Call, Reply, To, frame, item, nothing};

impl Model {
    pub(super) fn send(&mut self, call: &mut Call, to: Target, text: &Text, reply_to: Option<usize>) -> Reply {
        if let Some(receipt) = self.repeat(call, text) {
            return Ok(receipt);
        }
        let conversation = match to {
            Target::User(other) if other >= self.users.len() => return Err("not_found"),
            Target::User(other) => {
                self.ensure_not_blocked(other, call.me)?;
                self.dialog(call.me, other).unwrap_or_else(|| self.begin_dialog(call.me, other))
            }
            Target::Group(nth) => self.group_for(call.me, nth)?,
        };
        Ok(self.store(call, conversation, text, reply_to))
    }

    pub(super) fn reply(&mut self, call: &mut Call, nth: usize, text: &Text) -> Reply {
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
        self.ensure_may_send(call.me, conversation)?;
        let first = self.message_for(call.me, nth)?;
        self.ensure_not_deleted(first)?;
        Ok(self.store(call, conversation, text, Some(first)))
    }

    /// A repeat replies with the first receipt, wherever that message went, and does nothing.
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
            "data": null, "message": text.content, "senderName": self.users[me].name, "item": self.message_item(&message),
        });
        let kind = if self.group_id(conversation).is_some() { "messageInGroup" } else { "privateMessage" };
        self.push(call, &self.conversations[conversation].users(), To::All, kind, &body);
        self.notify(call, &message);
        self.conversations[conversation].last_active = now;
        self.messages.push(message);
        reply
    }

    /// Pushes notifications of a new message to the sockets that subscribed and do not have the
    /// conversation open, unless the receiver marked it as spam.
    fn notify(&self, call: &mut Call, message: &Message) {
        for member in &self.conversations[message.conversation].members {
            let mut data = self.target(member.user, message.conversation);
            data["messageId"] = json!(message.id);
            data["seq"] = json!(message.seq);
            let notification = frame(
                "notification",
                &item(json!({
                    "notificationId": null, "kind": "message", "userId": self.users[call.me].id,
                    "userName": self.users[call.me].name, "data": data, "createdAt": TIME, "readAt": null,
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

    pub(super) fn edit(&mut self, call: &mut Call, nth: usize, content: &str) -> Reply {
        let message = self.message_for(call.me, nth)?;
        if self.messages[message].sender != call.me {
            return Err("not_author");
        }
        self.ensure_not_deleted(message)?;
        self.ensure_may_send(call.me, self.messages[message].conversation)?;
        content.clone_into(&mut self.messages[message].content);
        Ok(self.push_message(call, message, "editMessage"))
    }

    pub(super) fn delete(&mut self, call: &mut Call, nth: usize) -> Reply {
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
        Ok(self.push_message(call, message, "deleteMessage"))
    }

    pub(super) fn react(&mut self, call: &mut Call, nth: usize, reaction: Option<&'static str>) -> Reply {
        let place = self.message_for(call.me, nth)?;
        self.ensure_not_deleted(place)?;
        if reaction.is_some() {
            self.ensure_may_send(call.me, self.messages[place].conversation)?;
        }
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
        let mut change = json!({ "userId": self.users[call.me].id, "reaction": reaction, "at": TIME });
        for same in ["messageId", "seq", "senderId", "receiverId", "groupId"] {
            change[same] = message[same].clone();
        }
        let body = item(change);
        let seq = self.messages[place].seq;
        let users = self.conversations[self.messages[place].conversation].readers(seq);
        self.push(call, &users, To::Subscribers, "reactToMessage", &body);
        Ok(body)
    }

    /// Returns a message that `user` may read.
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

    fn ensure_may_send(&self, user: usize, conversation: usize) -> Result<(), &'static str> {
        self.peer(user, conversation).map_or(Ok(()), |peer| self.ensure_not_blocked(peer, user))
    }

    fn ensure_not_deleted(&self, message: usize) -> Result<(), &'static str> {
        if self.messages[message].deleted { Err("not_found") } else { Ok(()) }
    }

    fn push_message(&self, call: &mut Call, message: usize, kind: &str) -> Value {
        let message = &self.messages[message];
        let body = item(self.message_item(message));
        self.push(call, &self.conversations[message.conversation].readers(message.seq), To::Subscribers, kind, &body);
        body
    }
}

fn receipt(message: &Message, duplicate: bool) -> Value {
    json!({
        "messageId": message.id, "seq": message.seq, "createdAt": TIME, "clientMessageId": message.client_id,
        "duplicate": duplicate,
    })
}
