//! Frames of the correct server.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::history::event::{Change, Conversation, Message, UserId};
use crate::history::recorder::raw_frame;

/// A frame as it is recorded.
pub(super) fn frame_of(value: &Value) -> Box<RawValue> {
    raw_frame(&value.to_string()).expect("JSON")
}

/// A message as it is in frames.
pub(super) fn item(conversation: Conversation, message: &Message) -> Value {
    let reactions: Vec<Value> =
        message.reactions.iter().map(|(user, what)| json!({ "userId": user, "reaction": what })).collect();
    let mut item = conversation.target(message.sender);
    for (key, value) in [
        ("messageId", json!(message.id)),
        ("seq", json!(message.seq)),
        ("senderId", json!(message.sender)),
        ("content", json!(message.content)),
        ("deletedAt", if message.deleted { json!("2026-11-20T09:40:39.018Z") } else { Value::Null }),
        ("reactions", json!(reactions)),
    ] {
        item[key] = value;
    }
    item
}

/// A row of `sync`, as `user` receives it.
pub(super) fn row(user: UserId, change: &Change) -> Value {
    match change {
        Change::Message(conversation, message) => {
            json!({ "type": "editMessage", "item": item(*conversation, message) })
        }
        Change::Member { group, user, is_in } => {
            let frame_type = if *is_in { "addUserInGroup" } else { "removeUserFromGroup" };
            json!({ "type": frame_type, "item": { "groupId": group, "userId": user } })
        }
        Change::Marker { conversation, user: who, seq, .. } => {
            let mut item = conversation.target(user);
            (item["userId"], item["seq"]) = (json!(who), json!(seq));
            json!({ "type": "readMessages", "item": item })
        }
        Change::Dropped { .. } | Change::Other => Value::Null,
    }
}
