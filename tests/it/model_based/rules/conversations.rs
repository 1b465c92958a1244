//! A member's own settings of a conversation, and how far the member has read it.

use serde_json::{Value, json};

use super::super::operations::Target;
use super::super::state::{Conversation, Kind, Member, Model};
use super::super::views::TIME;
use super::{Call, Reply, To, item, nothing};

impl Model {
    pub(super) fn read(&mut self, call: &mut Call, target: Target, seq: Option<i64>) -> Reply {
        let Some(conversation) = self.find(call.me, target)? else { return Ok(self.unset_marker(call.me, target)) };
        let last = self.last_seq(conversation);
        let member = self.membership(call.me, conversation);
        let seq = seq.unwrap_or(last).min(last);
        let moves = seq > member.read;
        if moves {
            member.read = seq;
            member.has_read_marker = true;
            if seq > member.delivered {
                member.delivered = seq;
                member.has_delivered_marker = true;
            }
        }
        let (seq, is_set) = (member.read, member.has_read_marker);
        Ok(self.push_marker(call, conversation, "readMessages", (seq, is_set, moves)))
    }

    pub(super) fn deliver(&mut self, call: &mut Call, target: Target, seq: Option<i64>) -> Reply {
        let Some(conversation) = self.find(call.me, target)? else { return Ok(self.unset_marker(call.me, target)) };
        let last = self.last_seq(conversation);
        let member = self.membership(call.me, conversation);
        let seq = seq.unwrap_or(last).min(last);
        let moves = seq > member.delivered;
        if moves {
            member.delivered = seq;
            member.has_delivered_marker = true;
        }
        let (seq, is_set) = (member.delivered, member.has_delivered_marker);
        Ok(self.push_marker(call, conversation, "deliveredMessages", (seq, is_set, moves)))
    }

    pub(super) fn open(&mut self, call: &Call, target: Target) -> Reply {
        let conversation = match (self.find(call.me, target)?, target) {
            (Some(conversation), _) => conversation,
            (None, Target::User(other)) => {
                self.ensure_not_blocked(other, call.me)?;
                self.begin_dialog(call.me, other)
            }
            (None, Target::Group(_)) => return Err("not_found"),
        };
        self.sockets[call.socket].open.insert(conversation);
        let mut reply = item(self.conversation_item(call.me, conversation));
        reply["data"] = self.items(call.me, conversation).into_iter().take(20).collect();
        Ok(reply)
    }

    /// Never refused: a conversation that is not open can be closed.
    pub(super) fn close(&mut self, call: &Call, target: Target) -> Value {
        let conversation = match target {
            Target::User(other) => self.dialog(call.me, other),
            Target::Group(nth) => self.group(nth),
        };
        if let Some(conversation) = conversation {
            self.sockets[call.socket].open.remove(&conversation);
        }
        nothing()
    }

    pub(super) fn remove(&mut self, call: &mut Call, target: Target) -> Reply {
        let conversation = self.find(call.me, target)?.ok_or("not_found")?;
        let last = self.last_seq(conversation);
        let member = self.membership(call.me, conversation);
        member.cleared = last;
        member.removed = true;
        let mut body = item(self.target(call.me, conversation));
        body["item"]["clearedSeq"] = json!(last);
        self.push(call, &[call.me], To::All, "removeConversation", &body);
        Ok(body)
    }

    pub(super) fn mark_spam(&mut self, call: &mut Call, target: Target, spam: bool) -> Reply {
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

    pub(super) fn begin_dialog(&mut self, one: usize, other: usize) -> usize {
        let (low, high) = (one.min(other), one.max(other));
        let mut users = vec![low, high];
        users.dedup();
        let members = users.into_iter().map(|user| Member { user, joined: self.now, ..Member::default() }).collect();
        self.conversations.push(Conversation { kind: Kind::Dialog(low, high), members, last_active: self.now });
        self.conversations.len() - 1
    }

    /// Returns the reply to a marker that is at `seq`, and pushes it to all members if it has moved there.
    fn push_marker(
        &self,
        call: &mut Call,
        place: usize,
        kind: &str,
        (seq, is_set, has_moved): (i64, bool, bool),
    ) -> Value {
        let conversation = &self.conversations[place];
        let at = is_set.then_some(TIME);
        for user in conversation.users().into_iter().filter(|_| has_moved) {
            let mut marker = self.target(user, place);
            marker["userId"] = json!(self.users[call.me].id);
            marker["seq"] = json!(seq);
            marker["at"] = json!(at);
            self.push(call, &[user], To::Subscribers, kind, &item(marker));
        }
        let me = conversation.member(call.me).expect("a member");
        let mut mine = self.target(call.me, place);
        mine["userId"] = json!(self.users[call.me].id);
        mine["seq"] = json!(seq);
        mine["at"] = json!(at);
        mine["unreadCount"] = json!(self.unread(me, place));
        item(mine)
    }

    /// Returns the reply to a marker in a dialog that does not exist yet.
    fn unset_marker(&self, user: usize, target: Target) -> Value {
        let Target::User(other) = target else { unreachable!("groups have begun") };
        let (other, user) = (self.users[other].id, self.users[user].id);
        item(json!({ "receiverId": other, "userId": user, "seq": 0, "at": null, "unreadCount": 0 }))
    }
}
