//! Items that several commands and HTTP answer with, made of rows of the store. They borrow: no text of a
//! message is copied on its way to the wire.

use std::borrow::Cow;

use crate::model::UserId;
use crate::store::conversations::ConversationState;
use crate::store::messages::StoredMessage;
use crate::wire::items::{ConversationItem, MessageItem, ReactionItem, ReplyTo};

/// A message as its readers get it.
#[must_use]
pub fn message_item(message: &StoredMessage) -> MessageItem<'_> {
    MessageItem {
        message_id: message.id,
        seq: message.seq,
        sender_id: message.sender_id,
        sender_name: Cow::Borrowed(&message.sender_name),
        receiver_id: message.receiver_id,
        receiver_name: message.receiver_name.as_deref().map(Cow::Borrowed),
        group_id: message.group_id,
        group_name: message.group_name.as_deref().map(Cow::Borrowed),
        content: Cow::Borrowed(&message.content),
        reply_to: reply_item(message),
        reactions: reaction_items(message),
        created_at: message.created_at,
        updated_at: message.updated_at,
        deleted_at: message.deleted_at,
        client_message_id: message.client_message_id.as_deref().map(Cow::Borrowed),
    }
}

/// The message that a message replies to, if any.
#[must_use]
pub fn reply_item(message: &StoredMessage) -> Option<ReplyTo<'_>> {
    Some(ReplyTo {
        message_id: message.reply_id?,
        sender_id: message.reply_sender_id?,
        sender_name: Cow::Borrowed(message.reply_sender_name.as_deref()?),
        content: Cow::Borrowed(message.reply_content.as_deref()?),
    })
}

/// The reactions to a message, the oldest first.
#[must_use]
pub fn reaction_items(message: &StoredMessage) -> Vec<ReactionItem<'_>> {
    let users = message.reaction_user_ids.iter().flatten();
    let reactions = message.reactions.iter().flatten();
    users
        .zip(reactions)
        .map(|(user, reaction)| ReactionItem { user_id: UserId(*user), reaction: Cow::Borrowed(reaction) })
        .collect()
}

/// A conversation as one of its members gets it, with its newest message if there is one.
#[must_use]
pub fn conversation_item<'a>(
    state: &'a ConversationState,
    last_message: Option<&'a StoredMessage>,
) -> ConversationItem<'a> {
    let target = state.target();
    ConversationItem {
        kind: conversation_kind(state),
        receiver_id: target.user(),
        receiver_name: state.peer_name.as_deref(),
        group_id: target.group(),
        group_name: state.group_name.as_deref(),
        last_seq: state.last_seq,
        read_seq: state.read_seq,
        unread_count: state.unread_count,
        spam: state.is_spam,
        role: member_role(state),
        last_message: last_message.map(message_item),
    }
}

/// `kind` of a conversation.
#[must_use]
pub fn conversation_kind(state: &ConversationState) -> &'static str {
    if state.is_group { "group" } else { "dialog" }
}

/// `role` of the member whose state this is.
#[must_use]
pub fn member_role(state: &ConversationState) -> &'static str {
    if state.is_admin { "admin" } else { "member" }
}
