//! Where the lists that somebody pages through go on. Lists that have the newest first move while
//! one reads them; so the page after one that was just read begins where that one ended.

use parking_lot::Mutex;

use crate::model::{ListPosition, ListStart, MovingListStart, Page};

/// Most rows that are kept in mind as read. Who pages on may miss what moves to the top meanwhile; it
/// is pushed all the same.
const MOST_SHOWN: usize = 10_000;

/// The last page that was read over one socket.
#[derive(Debug, Default)]
pub struct Pages(Mutex<Option<Read>>);

#[derive(Debug)]
struct Read {
    /// Which list, its filters included.
    list: String,
    page: Page,
    /// Its last row.
    end: ListPosition,
    /// Of a list whose rows move, read from its first page on.
    moving: Option<Moving>,
}

#[derive(Clone, Debug)]
struct Moving {
    /// When the newest row came to its place, as the first page was read.
    since: i64,
    /// What has been read, by its ids.
    shown: Vec<i64>,
}

impl Pages {
    /// Where a page of a list starts.
    #[must_use]
    pub fn start(&self, list: &str, page: Page) -> ListStart {
        self.before(list, page).0
    }

    /// The same of a list whose rows move to its top: what has moved there unread is read next.
    #[must_use]
    pub fn start_moving(&self, list: &str, page: Page) -> MovingListStart {
        let (start, moving) = self.before(list, page);
        let moved_above =
            moving.as_ref().zip(start.below).map(|(moving, end)| ListPosition { at: moving.since, id: 0 }.max(end));
        MovingListStart { start, moved_above, shown: moving.map(|moving| moving.shown).unwrap_or_default() }
    }

    fn before(&self, list: &str, page: Page) -> (ListStart, Option<Moving>) {
        let read = self.0.lock();
        let before = read.as_ref().filter(|read| {
            read.list == list && read.page.limit == page.limit && read.page.page.checked_add(1) == Some(page.page)
        });
        match before {
            Some(before) => (ListStart { below: Some(before.end), skipped: 0 }, before.moving.clone()),
            None => (ListStart { below: None, skipped: page.offset() }, None),
        }
    }

    /// Notes where a page has ended; an empty one ends nothing.
    pub fn end(&self, list: &str, page: Page, last: Option<ListPosition>) {
        if let Some(end) = last {
            *self.0.lock() = Some(Read { list: list.to_owned(), page, end, moving: None });
        }
    }

    /// Notes which rows were read of a list whose rows move, where it was read from `start` on.
    pub fn end_moving(&self, list: &str, page: Page, start: MovingListStart, rows: &[ListPosition]) {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return };
        let MovingListStart { start: ListStart { below, .. }, moved_above, mut shown } = start;
        // A page of nothing but rows that have moved goes no further down.
        let end = below.map_or(*last, |below| below.min(*last));
        let since = moved_above.map(|place| place.at).or((page.page == 1).then_some(first.at));
        shown.extend(rows.iter().map(|row| row.id));
        let moving = since.filter(|_| shown.len() <= MOST_SHOWN).map(|since| Moving { since, shown });
        *self.0.lock() = Some(Read { list: list.to_owned(), page, end, moving });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_page_of_the_same_list_goes_on_where_the_one_before_ended() {
        let pages = Pages::default();
        let (first, second) = (Page { limit: 2, page: 1 }, Page { limit: 2, page: 2 });
        let end = ListPosition { at: 5, id: 7 };
        let anew = ListStart { below: None, skipped: 2 };
        assert_eq!(pages.start("a", second), anew);
        pages.end("a", first, Some(end));
        assert_eq!(pages.start("a", second), ListStart { below: Some(end), skipped: 0 });
        assert_eq!(pages.start("b", second), anew);
        assert_eq!(pages.start("a", Page { limit: 3, page: 2 }).skipped, 3);
        assert_eq!(pages.start("a", first), ListStart { below: None, skipped: 0 });
    }

    #[test]
    fn what_moves_to_the_top_unread_is_read_next() {
        let pages = Pages::default();
        let page = |page| Page { limit: 2, page };
        let row = |at| ListPosition { at, id: at };
        let start = pages.start_moving("a", page(1));
        assert_eq!((start.start.skipped, start.moved_above), (0, None));
        pages.end_moving("a", page(1), start, &[row(9), row(8)]);
        let start = pages.start_moving("a", page(2));
        assert_eq!((start.start.below, start.moved_above), (Some(row(8)), Some(ListPosition { at: 9, id: 0 })));
        assert_eq!(start.shown, [9, 8]);
        pages.end_moving("a", page(2), start, &[row(12), row(11)]);
        let start = pages.start_moving("a", page(3));
        assert_eq!((start.start.below, start.moved_above), (Some(row(8)), Some(ListPosition { at: 9, id: 0 })));
        assert_eq!(start.shown, [9, 8, 12, 11]);
        // In the middle nobody knows what moved.
        let start = pages.start_moving("b", page(5));
        pages.end_moving("b", page(5), start, &[row(4)]);
        assert_eq!(pages.start_moving("b", page(6)).moved_above, None);
    }
}
