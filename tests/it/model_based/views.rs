//! What every user may read: how the server must show the state to each of them.

use serde_json::{Value, json};

use super::state::{Conversation, Kind, Member, Message, Model};

/// Stands for any time: the model has no clock.
pub const TIME: &str = "[time]";

/// The values of a list's `filter`.
pub const FILTERS: [&str; 5] = ["all", "unread", "spam", "groups", "dialogs"];

impl Model {
    /// Returns the rows of `listConversations`.
    pub fn conversations_of(&self, user: usize, filter: &str) -> Vec<Value> {
        let row = |(place, _, _): &(usize, &Conversation, &Member)| self.conversation_row(user, *place);
        let listed = self.listed(user, filter, true);
        listed.iter().map(row).collect()
    }

    /// Returns the rows of `listLastMessage`, which leaves out groups without messages.
    pub fn last_messages_of(&self, user: usize) -> Vec<Value> {
        let row = |(place, _, member): &(usize, &Conversation, &Member)| {
            let message = self.readable(member, *place).pop().expect("it is listed");
            let mut row = self.message_item(message);
            row["id"] = row["messageId"].take();
            row["unreadCount"] = json!(self.unread(member, *place));
            for extra in ["messageId", "replyTo", "reactions", "clientMessageId"] {
                row.as_object_mut().expect("a row").remove(extra);
            }
            row
        };
        self.listed(user, "all", false).iter().map(row).collect()
    }

    /// Returns the conversations of a list, the most recently active first.
    fn listed(&self, user: usize, filter: &str, empty_groups: bool) -> Vec<(usize, &Conversation, &Member)> {
        let mine = |(place, conversation)| Some((place, conversation, Conversation::member(conversation, user)?));
        let mut listed: Vec<_> = self.conversations.iter().enumerate().filter_map(mine).collect();
        listed.retain(|(place, conversation, member)| {
            let is_group = matches!(conversation.kind, Kind::Group { .. });
            let has_messages = !self.readable(member, *place).is_empty();
            let is_there = has_messages || (is_group && empty_groups && !member.removed);
            let wanted = match filter {
                "spam" => member.spam,
                "unread" => !member.spam && self.unread(member, *place) > 0,
                "groups" => !member.spam && is_group,
                "dialogs" => !member.spam && !is_group,
                _ => !member.spam,
            };
            is_there && wanted
        });
        listed.sort_by_key(|(_, conversation, _)| std::cmp::Reverse(conversation.last_active));
        listed
    }

    /// Counts the messages of others that are neither read nor cleared.
    pub fn unread(&self, member: &Member, conversation: usize) -> usize {
        let unread = |message: &&Message| message.seq > member.read && message.sender != member.user;
        self.readable(member, conversation).iter().copied().filter(|message| unread(message)).count()
    }

    /// Returns the messages that are not cleared for a member, the oldest first.
    fn readable(&self, member: &Member, conversation: usize) -> Vec<&Message> {
        self.messages_of(conversation).filter(|message| message.seq > member.cleared).collect()
    }

    /// Returns a row of `listConversations`, which is also most of a conversation's `item`.
    fn conversation_row(&self, user: usize, place: usize) -> Value {
        let conversation = &self.conversations[place];
        let member = conversation.member(user).expect("a member");
        let mut row = json!({
            "kind": "dialog", "receiverId": null, "receiverName": null, "groupId": null, "groupName": null,
            "lastSeq": self.last_seq(place),
            "readSeq": member.read,
            "unreadCount": self.unread(member, place),
            "spam": member.spam,
            "role": if member.is_admin { "admin" } else { "member" },
            "lastMessage": self.readable(member, place).pop().map(|message| self.message_item(message)),
        });
        if let Some(peer) = self.peer(user, place) {
            row["receiverId"] = json!(self.users[peer].id);
            row["receiverName"] = json!(self.users[peer].name);
        } else if let Kind::Group { id, name } = &conversation.kind {
            row["kind"] = json!("group");
            row["groupId"] = json!(id);
            row["groupName"] = json!(name);
        }
        row
    }

    /// Returns the `item` of `openConversation` and `getConversation`.
    pub fn conversation_item(&self, user: usize, place: usize) -> Value {
        let conversation = &self.conversations[place];
        let mut members: Vec<&Member> = conversation.members.iter().collect();
        members.sort_by_key(|member| (member.joined, member.user));
        let shown = |member: &&Member| {
            json!({
                "id": self.users[member.user].id,
                "name": self.users[member.user].name,
                "isAdmin": member.is_admin,
                "joinedAt": TIME,
                "readSeq": member.read,
                "deliveredSeq": member.delivered,
            })
        };
        let mut admins: Vec<i64> =
            members.iter().filter(|member| member.is_admin).map(|member| self.users[member.user].id).collect();
        admins.sort_unstable();
        let me = conversation.member(user).expect("a member");
        let mut item = self.conversation_row(user, place);
        item["members"] = members.iter().map(shown).collect();
        item["admins"] = json!(admins);
        item["memberCount"] = json!(members.len());
        item["messageCount"] = json!(self.readable(me, place).len());
        item
    }

    /// Returns the messages of a conversation as items, the newest first.
    pub fn items(&self, user: usize, conversation: usize) -> Vec<Value> {
        let member = self.conversations[conversation].member(user).expect("a member");
        self.readable(member, conversation).iter().rev().map(|message| self.message_item(message)).collect()
    }

    /// Returns the rows of `getlatestMessageDialog` and `getlatestMessageGroup`: the same messages with the
    /// keys of the first protocol.
    pub fn history(&self, user: usize, conversation: usize) -> Vec<Value> {
        let row = |mut item: Value| {
            item["sender_id"] = item["senderId"].take();
            item["created_at"] = item["createdAt"].take();
            if self.group_id(conversation).is_some() {
                item["group_id"] = item["groupId"].take();
            } else {
                item["receiver_id"] = item["receiverId"].take();
                item["receverName"] = item["receiverName"].clone();
            }
            for other in ["senderId", "createdAt", "groupId", "groupName", "receiverId", "clientMessageId"] {
                item.as_object_mut().expect("a row").remove(other);
            }
            item
        };
        self.items(user, conversation).into_iter().map(row).collect()
    }

    /// Returns the rows of `searchMessages`, in one conversation or in all: the newest message with that
    /// word first.
    pub fn found(&self, user: usize, word: &str, within: Option<usize>) -> Vec<Value> {
        let may_read = |message: &&Message| {
            let member = self.conversations[message.conversation].member(user);
            member.is_some_and(|member| message.seq > member.cleared)
        };
        let is_meant = |message: &&Message| {
            within.is_none_or(|conversation| conversation == message.conversation)
                && message.content.split(' ').any(|other| other == word)
        };
        let found = self.messages.iter().rev().filter(is_meant).filter(may_read);
        found.map(|message| self.message_item(message)).collect()
    }

    /// Returns a message, which is the same for every user who may read it.
    pub fn message_item(&self, message: &Message) -> Value {
        let receiver = self.peer(message.sender, message.conversation).map(|peer| &self.users[peer]);
        let group_name = match &self.conversations[message.conversation].kind {
            Kind::Group { name, .. } => Some(name),
            Kind::Dialog(..) => None,
        };
        let reaction =
            |(user, reaction): &(usize, &str)| json!({ "userId": self.users[*user].id, "reaction": reaction });
        let reply_to = message.reply_to.map(|place| {
            let first = &self.messages[place];
            json!({
                "messageId": first.id,
                "senderId": self.users[first.sender].id,
                "senderName": self.users[first.sender].name,
                "content": first.content,
            })
        });
        json!({
            "messageId": message.id,
            "seq": message.seq,
            "senderId": self.users[message.sender].id,
            "senderName": self.users[message.sender].name,
            "receiverId": receiver.map(|user| user.id),
            "receiverName": receiver.map(|user| &user.name),
            "groupId": self.group_id(message.conversation),
            "groupName": group_name,
            "content": message.content,
            "replyTo": reply_to,
            "reactions": message.reactions.iter().map(reaction).collect::<Vec<_>>(),
            "createdAt": TIME,
            "updatedAt": TIME,
            "deletedAt": message.deleted.then_some(TIME),
            "clientMessageId": message.client_id,
        })
    }
}
