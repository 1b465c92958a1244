//! Pages of lists and of histories.

use super::{MAX_ID, Seq};

/// Which of my conversations a list holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConversationFilter {
    /// All but spam and what I removed.
    #[default]
    All,
    /// Those of `All` with something unread.
    Unread,
    /// Spam alone.
    Spam,
    /// The groups of `All`.
    Groups,
    /// The dialogs of `All`.
    Dialogs,
}

impl ConversationFilter {
    /// All of them, in the order of the protocol.
    pub const ALL: [Self; 5] = [Self::All, Self::Unread, Self::Spam, Self::Groups, Self::Dialogs];

    /// As it goes over the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Unread => "unread",
            Self::Spam => "spam",
            Self::Groups => "groups",
            Self::Dialogs => "dialogs",
        }
    }
}

/// A page of a list: `limit` rows, `page` from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Rows, 1 to the limit.
    pub limit: i64,
    /// Number of the page, from 1.
    pub page: i64,
}

impl Page {
    /// Rows of the pages before this one.
    #[must_use]
    pub fn offset(self) -> i64 {
        (self.page - 1).saturating_mul(self.limit).min(MAX_ID)
    }
}

/// The place of a row in a list that moves while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it came there, in microseconds since 1970; 0 in lists that go by id alone.
    pub at: i64,
    /// Its id, which decides between rows of one moment.
    pub id: i64,
}

/// Where a page of a list that moves while it is read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListStart {
    /// Below this row, as the list is read.
    pub below: Option<Place>,
    /// After so many rows.
    pub skipped: i64,
}

/// Where a page begins of a list whose rows move to its top while somebody pages through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingStart {
    /// Where it begins, but for the rows that have moved.
    pub start: ListStart,
    /// Rows above this one have moved since the first page was read.
    pub moved_above: Option<Place>,
    /// The rows that have been read, by their ids.
    pub shown: Vec<i64>,
}

/// Where a page of a history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The page of this number, from 1, counted from the newest message.
    Page(i64),
    /// Below this `seq`, which stays put while messages arrive.
    Before(Seq),
}

/// A page of a history, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Rows, 1 to the limit.
    pub limit: i64,
    /// Where it begins.
    pub start: Start,
}
