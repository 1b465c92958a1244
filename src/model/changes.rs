//! The kinds of changes that `sync` reports to a user who was offline.

use super::{GroupEventKind, MessageEvent, PushType, ReceiptEvent};

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
    /// Every kind that `sync` reports.
    pub fn all() -> impl Iterator<Item = Self> {
        let messages = MessageEvent::ALL.into_iter().map(Self::Message);
        let groups = GroupEventKind::ALL.into_iter().map(Self::Group);
        let receipts = ReceiptEvent::ALL.into_iter().map(Self::Receipt);
        messages.chain(groups).chain(receipts).chain([Self::SpamMarked, Self::ConversationRemoved])
    }

    /// The type of the push.
    #[must_use]
    pub const fn push_type(self) -> PushType {
        match self {
            Self::Message(event) => event.push_type(),
            Self::Group(kind) => kind.push_type(),
            Self::Receipt(event) => event.push_type(),
            Self::SpamMarked => PushType::MarkSpam,
            Self::ConversationRemoved => PushType::RemoveConversation,
        }
    }

    /// The spelling of the type, which the SQL function `changes_since` returns too.
    #[must_use]
    pub const fn frame_type(self) -> &'static str {
        self.push_type().name()
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
