//! What everybody may read: how the server has to show the state to each of them.

use serde_json::{Value, json};

use super::state::{Conversation, Kind, Member, Message, Model};

/// Stands for any moment: the model has no clock.
pub const TIME: &str = "[time]";

/// What a list holds, by the name of its `filter`.
pub const FILTERS: [&str; 5] = ["all", "unread", "spam", "groups", "dialogs"];

impl Model {
    /// Rows of `listConversations`.
    pub fn conversations_of(&self, user: usize, filter: &str) -> Vec<Value> {
        let row = |(place, _, _): &(usize, &Conversation, &Member)| self.conversation_row(user, *place);
        let listed = self.listed(user, filter, true);
        listed.iter().map(row).collect()
    }

    /// Rows of `listLastMessage`: groups without a message are none.
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

    /// The conversations of a list, the one that moved last first.
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
        listed.sort_by_key(|(_, conversation, _)| std::cmp::Reverse(conversation.moved));
        listed
    }

    /// Messages of others past what was read, and not gone.
    pub fn unread(&self, member: &Member, conversation: usize) -> usize {
        let unread = |message: &&Message| message.seq > member.read && message.sender != member.user;
        self.readable(member, conversation).iter().copied().filter(|message| unread(message)).count()
    }

    /// The messages that are not gone for a member, the oldest first.
    fn readable(&self, member: &Member, conversation: usize) -> Vec<&Message> {
        self.said_in(conversation).filter(|message| message.seq > member.cleared).collect()
    }

    /// A row of `listConversations`, and most of `item` of a conversation.
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
            row["receiverId"] = json!(self.people[peer].id);
            row["receiverName"] = json!(self.people[peer].name);
        } else if let Kind::Group { id, name } = &conversation.kind {
            row["kind"] = json!("group");
            row["groupId"] = json!(id);
            row["groupName"] = json!(name);
        }
        row
    }

    /// `item` of `openConversation` and `getConversation`.
    pub fn conversation_item(&self, user: usize, place: usize) -> Value {
        let conversation = &self.conversations[place];
        let mut members: Vec<&Member> = conversation.members.iter().collect();
        members.sort_by_key(|member| (member.joined, member.user));
        let shown = |member: &&Member| {
            json!({
                "id": self.people[member.user].id,
                "name": self.people[member.user].name,
                "isAdmin": member.is_admin,
                "joinedAt": TIME,
                "readSeq": member.read,
                "deliveredSeq": member.delivered,
            })
        };
        let mut admins: Vec<i64> =
            members.iter().filter(|member| member.is_admin).map(|member| self.people[member.user].id).collect();
        admins.sort_unstable();
        let me = conversation.member(user).expect("a member");
        let mut item = self.conversation_row(user, place);
        item["members"] = members.iter().map(shown).collect();
        item["admins"] = json!(admins);
        item["memberCount"] = json!(members.len());
        item["messageCount"] = json!(self.readable(me, place).len());
        item
    }

    /// The messages of a conversation as items, the newest first.
    pub fn items(&self, user: usize, conversation: usize) -> Vec<Value> {
        let member = self.conversations[conversation].member(user).expect("a member");
        self.readable(member, conversation).iter().rev().map(|message| self.message_item(message)).collect()
    }

    /// Rows of `getlatestMessageDialog` and `getlatestMessageGroup`: the same in the spelling of the
    /// first clients.
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

    /// Rows of `searchMessages`, in one conversation or in all: the newest message with that word first.
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

    /// A message, the same for everybody who may read it.
    pub fn message_item(&self, message: &Message) -> Value {
        let receiver = self.peer(message.sender, message.conversation).map(|peer| &self.people[peer]);
        let group_name = match &self.conversations[message.conversation].kind {
            Kind::Group { name, .. } => Some(name),
            Kind::Dialog(..) => None,
        };
        let reaction =
            |(user, reaction): &(usize, &str)| json!({ "userId": self.people[*user].id, "reaction": reaction });
        let reply_to = message.reply_to.map(|place| {
            let first = &self.messages[place];
            json!({
                "messageId": first.id,
                "senderId": self.people[first.sender].id,
                "senderName": self.people[first.sender].name,
                "content": first.content,
            })
        });
        json!({
            "messageId": message.id,
            "seq": message.seq,
            "senderId": self.people[message.sender].id,
            "senderName": self.people[message.sender].name,
            "receiverId": receiver.map(|person| person.id),
            "receiverName": receiver.map(|person| &person.name),
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
