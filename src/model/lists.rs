//! Pagination of lists and histories.

use super::{MAX_ID, Seq};

/// Which conversations a chat list holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConversationFilter {
    /// All but spam and removed ones.
    #[default]
    All,
    /// Those of `All` with unread messages.
    Unread,
    /// Only conversations that the user has marked as spam.
    Spam,
    /// The groups of `All`.
    Groups,
    /// The dialogs of `All`.
    Dialogs,
}

impl ConversationFilter {
    /// All filters, in the order of the reference.
    pub const ALL: [Self; 5] = [Self::All, Self::Unread, Self::Spam, Self::Groups, Self::Dialogs];

    /// The spelling on the wire.
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
    /// The number of rows, from 1 to `max_page_rows` of the settings.
    pub limit: i64,
    /// The number of the page, from 1.
    pub page: i64,
}

impl Page {
    /// The number of rows on the pages before this one.
    #[must_use]
    pub fn offset(self) -> i64 {
        (self.page - 1).saturating_mul(self.limit).min(MAX_ID)
    }
}

/// The position of a row in a list whose rows may move while a client pages through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListPosition {
    /// The time that the list is sorted by, in microseconds since 1970; 0 in a list sorted by id.
    pub at: i64,
    /// The id, which decides between rows with the same time.
    pub id: i64,
}

/// Where a page of a list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListStart {
    /// After this row, in the order of the list.
    pub below: Option<ListPosition>,
    /// After this many further rows.
    pub skipped: i64,
}

/// Where a page begins in a list whose rows move to the top while a client pages through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovingListStart {
    /// The beginning, apart from rows that have moved.
    pub start: ListStart,
    /// Rows before this position have moved since the first page was read.
    pub moved_above: Option<ListPosition>,
    /// The ids of the rows on earlier pages.
    pub shown: Vec<i64>,
}

/// Where a page of a history begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryStart {
    /// At a page number, from 1, counted from the newest message.
    Page(i64),
    /// Below this `seq`, which does not move when messages arrive.
    Before(Seq),
}

/// A page of a history, newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// The number of rows, from 1 to `max_page_rows` of the settings.
    pub limit: i64,
    /// Where the page begins: at a page number, or below a `seq`.
    pub start: HistoryStart,
}
