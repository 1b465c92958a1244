//! Topics: groups of optional pushes. The wire calls them the `events` of `subscribe`.

use serde::{Deserialize, Serialize};

/// A group of pushes that a socket gets only after it has subscribed to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Topic {
    /// Read and delivery markers of others.
    Receipts,
    /// Typing indicators, for conversations that are open on the socket.
    Typing,
    /// Presence of contacts, and of dialogs that are open on the socket.
    Presence,
    /// Changes of groups: admins, names, removals, ends.
    Groups,
    /// Users who have added me as a contact.
    Contacts,
    /// Edits, deletions and reactions.
    Messages,
    /// Notifications, also of messages in conversations that are not open on the socket.
    Notifications,
    /// What the other sockets of the same user do.
    Own,
}

impl Topic {
    /// All topics, in the order of the reference.
    pub const ALL: [Self; 8] = [
        Self::Receipts,
        Self::Typing,
        Self::Presence,
        Self::Groups,
        Self::Contacts,
        Self::Messages,
        Self::Notifications,
        Self::Own,
    ];

    /// The spelling on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Receipts => "receipts",
            Self::Typing => "typing",
            Self::Presence => "presence",
            Self::Groups => "groups",
            Self::Contacts => "contacts",
            Self::Messages => "messages",
            Self::Notifications => "notifications",
            Self::Own => "own",
        }
    }
}

/// A set of topics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u8);

impl Topics {
    /// The set as a bit mask.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set of a bit mask from [`Self::bits`].
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether the set contains a topic.
    #[must_use]
    pub fn has(self, topic: Topic) -> bool {
        self.0 & (1 << topic as u8) != 0
    }

    /// The topics of the set.
    pub fn iter(self) -> impl Iterator<Item = Topic> {
        Topic::ALL.into_iter().filter(move |topic| self.has(*topic))
    }
}

impl FromIterator<Topic> for Topics {
    fn from_iter<I: IntoIterator<Item = Topic>>(topics: I) -> Self {
        Self(topics.into_iter().fold(0, |bits, topic| bits | 1 << topic as u8))
    }
}
