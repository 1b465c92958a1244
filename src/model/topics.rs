//! What a socket asks to be told.

use serde::{Deserialize, Serialize};

/// What a socket may ask to be told besides the pushes that every client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Topic {
    /// Who has read, and whom messages have reached.
    Receipts,
    /// Who is writing in a conversation that is open here.
    Typing,
    /// Who comes and goes.
    Presence,
    /// Admins, names, removals and ends of groups.
    Groups,
    /// Who has me as a contact now.
    Contacts,
    /// Edits, deletions and reactions.
    Messages,
    /// Notifications, and word of messages in conversations that are not open here.
    Notifications,
    /// What my other sockets do.
    Own,
}

impl Topic {
    /// All of them, in the order of the protocol.
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

    /// As it goes over the wire.
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
    /// The set in one byte.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// The set that [`Self::bits`] gave.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// Whether a topic is in it.
    #[must_use]
    pub fn has(self, topic: Topic) -> bool {
        self.0 & (1 << topic as u8) != 0
    }

    /// The topics in it.
    pub fn iter(self) -> impl Iterator<Item = Topic> {
        Topic::ALL.into_iter().filter(move |topic| self.has(*topic))
    }
}

impl FromIterator<Topic> for Topics {
    fn from_iter<I: IntoIterator<Item = Topic>>(topics: I) -> Self {
        Self(topics.into_iter().fold(0, |bits, topic| bits | 1 << topic as u8))
    }
}
