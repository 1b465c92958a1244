//! Stable pages of lists that change while a client reads them. The page after the one that was read last
//! starts where that one ended, and not at a number of rows. Each socket has a state of its own, of one list.

use parking_lot::Mutex;

use crate::model::{ListPosition, ListStart, MovingListStart, Page};

/// Maximum number of rows that are remembered as shown. Past it, the next pages leave out rows that move to the top
/// meanwhile; these are pushed anyway.
const MAX_SHOWN_ROWS: usize = 10_000;

/// The last page that was read over one socket.
#[derive(Debug, Default)]
pub struct PagingState(Mutex<Option<LastPage>>);

#[derive(Debug)]
struct LastPage {
    /// The name of the list, with its filters.
    list: String,
    page: Page,
    /// The place of its last row.
    end: ListPosition,
    /// Of a list whose rows move, where it was read from its first page on.
    moving: Option<MovingRows>,
}

/// What is known of a list whose rows move to its top.
#[derive(Clone, Debug)]
struct MovingRows {
    /// `at` of the newest row when the first page was read: rows after it have moved since.
    since: i64,
    /// The ids of the rows that were shown.
    shown: Vec<i64>,
}

impl PagingState {
    /// Where a page of a list starts: after the last page if that was the one before, or else after as many
    /// rows as the pages before have.
    #[must_use]
    pub fn start_of(&self, list: &str, page: Page) -> ListStart {
        self.after_last_page(list, page).0
    }

    /// The same for a list whose rows move to its top: rows that have moved there and were not shown come first.
    #[must_use]
    pub fn start_of_moving(&self, list: &str, page: Page) -> MovingListStart {
        let (start, moving) = self.after_last_page(list, page);
        let moved_above =
            moving.as_ref().zip(start.below).map(|(moving, end)| ListPosition { at: moving.since, id: 0 }.max(end));
        MovingListStart { start, moved_above, shown: moving.map(|moving| moving.shown).unwrap_or_default() }
    }

    fn after_last_page(&self, list: &str, page: Page) -> (ListStart, Option<MovingRows>) {
        let last = self.0.lock();
        let previous = last.as_ref().filter(|last| {
            last.list == list && last.page.limit == page.limit && last.page.page.checked_add(1) == Some(page.page)
        });
        match previous {
            Some(previous) => (ListStart { below: Some(previous.end), skipped: 0 }, previous.moving.clone()),
            None => (ListStart { below: None, skipped: page.offset() }, None),
        }
    }

    /// Records the last row of a page; an empty page changes nothing.
    pub fn record(&self, list: &str, page: Page, last: Option<ListPosition>) {
        if let Some(end) = last {
            *self.0.lock() = Some(LastPage { list: list.to_owned(), page, end, moving: None });
        }
    }

    /// Records the rows of a page of a list whose rows move, which was read from `start` on.
    pub fn record_moving(&self, list: &str, page: Page, start: MovingListStart, rows: &[ListPosition]) {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
        let MovingListStart { start: ListStart { below, .. }, moved_above, mut shown } = start;
        // A page of moved rows alone does not reach further down the list.
        let end = below.map_or(*last, |below| below.min(*last));
        let since = moved_above.map(|place| place.at).or((page.page == 1).then_some(first.at));
        shown.extend(rows.iter().map(|row| row.id));
        let moving = since.filter(|_| shown.len() <= MAX_SHOWN_ROWS).map(|since| MovingRows { since, shown });
        *self.0.lock() = Some(LastPage { list: list.to_owned(), page, end, moving });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paging_continues_only_with_the_next_page_of_the_same_list() {
        let paging = PagingState::default();
        let (first, second) = (Page { limit: 2, page: 1 }, Page { limit: 2, page: 2 });
        let end = ListPosition { at: 5, id: 7 };
        let anew = ListStart { below: None, skipped: 2 };
        assert_eq!(paging.start_of("a", second), anew);
        paging.record("a", first, Some(end));
        assert_eq!(paging.start_of("a", second), ListStart { below: Some(end), skipped: 0 });
        assert_eq!(paging.start_of("b", second), anew);
        assert_eq!(paging.start_of("a", Page { limit: 3, page: 2 }).skipped, 3);
        assert_eq!(paging.start_of("a", first), ListStart { below: None, skipped: 0 });
    }

    #[test]
    fn paging_shows_rows_that_have_moved_to_the_top_next() {
        let paging = PagingState::default();
        let page = |page| Page { limit: 2, page };
        let row = |at| ListPosition { at, id: at };
        let start = paging.start_of_moving("a", page(1));
        assert_eq!((start.start.skipped, start.moved_above), (0, None));
        paging.record_moving("a", page(1), start, &[row(9), row(8)]);
        let start = paging.start_of_moving("a", page(2));
        assert_eq!((start.start.below, start.moved_above), (Some(row(8)), Some(ListPosition { at: 9, id: 0 })));
        assert_eq!(start.shown, [9, 8]);
        paging.record_moving("a", page(2), start, &[row(12), row(11)]);
        let start = paging.start_of_moving("a", page(3));
        assert_eq!((start.start.below, start.moved_above), (Some(row(8)), Some(ListPosition { at: 9, id: 0 })));
        assert_eq!(start.shown, [9, 8, 12, 11]);
        // Of a list that is read from the middle on, it is not known which rows have moved.
        let start = paging.start_of_moving("b", page(5));
        paging.record_moving("b", page(5), start, &[row(4)]);
        assert_eq!(paging.start_of_moving("b", page(6)).moved_above, None);
    }
}
