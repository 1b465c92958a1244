//! The kinds of changes that `sync` reports to a user who was offline.

use super::{GroupEventKind, MessageEvent, ReceiptEvent};

/// What has changed: the type of the push that the user has missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A message was sent, edited, deleted or reacted to.
    Message(MessageEvent),
    /// Something happened to a group.
    Group(GroupEventKind),
    /// A member has read messages, or messages were delivered to them.
    Receipt(ReceiptEvent),
    /// The user has marked a conversation as spam, or no longer does.
    SpamMarked,
    /// The user has removed a conversation.
    ConversationRemoved,
}

impl ChangeKind {
    /// Every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        let messages = MessageEvent::ALL.into_iter().map(Self::Message);
        let groups = GroupEventKind::ALL.into_iter().map(Self::Group);
        let receipts = ReceiptEvent::ALL.into_iter().map(Self::Receipt);
        messages.chain(groups).chain(receipts).chain([Self::SpamMarked, Self::ConversationRemoved])
    }

    /// The type of the push; the SQL function `changes_since` returns it too.
    #[must_use]
    pub const fn frame_type(self) -> &'static str {
        match self {
            Self::Message(event) => event.frame_type(),
            Self::Group(kind) => kind.frame_type(),
            Self::Receipt(event) => event.frame_type(),
            Self::SpamMarked => "markSpam",
            Self::ConversationRemoved => "removeConversation",
        }
    }

    /// The kind of a frame type; `None` if `sync` does not report it.
    #[must_use]
    pub fn from_frame_type(frame_type: &str) -> Option<Self> {
        Self::all().find(|kind| kind.frame_type() == frame_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_type_is_read_back() {
        for kind in ChangeKind::all() {
            assert_eq!(ChangeKind::from_frame_type(kind.frame_type()), Some(kind));
        }
        assert_eq!(ChangeKind::from_frame_type("typing"), None);
    }
}
