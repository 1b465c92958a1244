//! What somebody wants of a conversation for themselves, and how far they have read it.

use serde_json::{Value, json};

use super::super::operations::Target;
use super::super::state::{Conversation, Kind, Member, Model};
use super::super::views::TIME;
use super::{Call, Reply, To, item, nothing};

impl Model {
    pub(super) fn read(&mut self, call: &mut Call, target: Target, seq: Option<i64>) -> Reply {
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

    pub(super) fn deliver(&mut self, call: &mut Call, target: Target, seq: Option<i64>) -> Reply {
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

    pub(super) fn open(&mut self, call: &Call, target: Target) -> Reply {
        let conversation = match (self.find(call.me, target)?, target) {
            (Some(conversation), _) => conversation,
            (None, Target::User(other)) => {
                self.takes_from(other, call.me)?;
                self.begin_dialog(call.me, other)
            }
            (None, Target::Group(_)) => return Err("not_found"),
        };
        self.sockets[call.socket].open.insert(conversation);
        let mut reply = item(self.conversation_item(call.me, conversation));
        reply["data"] = self.items(call.me, conversation).into_iter().take(20).collect();
        Ok(reply)
    }

    /// Never refused: what is not open need not be closed.
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
        self.conversations.push(Conversation { kind: Kind::Dialog(low, high), members, moved: self.now });
        self.conversations.len() - 1
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
}
