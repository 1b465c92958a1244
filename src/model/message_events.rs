//! What can happen to a message and to the markers of its readers, as frame types name it: in requests,
//! in pushes, in `sync` and in the column `message_changes.kind`.

use super::{PushType, Target};

/// An event of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageEvent {
    /// It was sent to a dialog.
    PrivateMessage,
    /// It was sent to a group.
    MessageInGroup,
    /// Its content was replaced.
    EditMessage,
    /// Its content and reactions were deleted.
    DeleteMessage,
    /// A reaction was set, replaced or taken back.
    ReactToMessage,
}

impl MessageEvent {
    /// Every event, for lookups by frame type.
    pub const ALL: [Self; 5] =
        [Self::PrivateMessage, Self::MessageInGroup, Self::EditMessage, Self::DeleteMessage, Self::ReactToMessage];

    /// The event of a message that was sent to `target`.
    #[must_use]
    pub const fn sent_to(target: Target) -> Self {
        match target {
            Target::User(_) => Self::PrivateMessage,
            Target::Group(_) => Self::MessageInGroup,
        }
    }

    /// The type of its push.
    #[must_use]
    pub const fn push_type(self) -> PushType {
        match self {
            Self::PrivateMessage => PushType::PrivateMessage,
            Self::MessageInGroup => PushType::MessageInGroup,
            Self::EditMessage => PushType::EditMessage,
            Self::DeleteMessage => PushType::DeleteMessage,
            Self::ReactToMessage => PushType::ReactToMessage,
        }
    }

    /// The `type` of its frames.
    #[must_use]
    pub const fn frame_type(self) -> &'static str {
        self.push_type().name()
    }

    /// The event with this `type`, if there is one.
    #[must_use]
    pub fn from_frame_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.frame_type() == name)
    }
}

/// A marker of a member that has moved forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReceiptEvent {
    /// The read marker.
    ReadMessages,
    /// The delivery marker.
    DeliveredMessages,
}

impl ReceiptEvent {
    /// Every event, for lookups by frame type.
    pub const ALL: [Self; 2] = [Self::ReadMessages, Self::DeliveredMessages];

    /// The type of its push.
    #[must_use]
    pub const fn push_type(self) -> PushType {
        match self {
            Self::ReadMessages => PushType::ReadMessages,
            Self::DeliveredMessages => PushType::DeliveredMessages,
        }
    }

    /// The `type` of its frames.
    #[must_use]
    pub const fn frame_type(self) -> &'static str {
        self.push_type().name()
    }

    /// The event with this `type`, if there is one.
    #[must_use]
    pub fn from_frame_type(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|event| event.frame_type() == name)
    }
}
