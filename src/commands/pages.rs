//! Where the lists that somebody pages through go on. Lists that have the newest first move while
//! one reads them; so the page after one that was just read begins where that one ended.

use parking_lot::Mutex;

use crate::model::{ListStart, Page, Place};

/// The last page that was read over one socket.
#[derive(Debug, Default)]
pub struct Pages(Mutex<Option<Read>>);

#[derive(Debug)]
struct Read {
    /// Which list, its filters included.
    list: String,
    page: Page,
    /// Its last row.
    end: Place,
}

impl Pages {
    /// Where a page of a list starts.
    #[must_use]
    pub fn start(&self, list: &str, page: Page) -> ListStart {
        let read = self.0.lock();
        let before = read.as_ref().filter(|read| {
            read.list == list && read.page.limit == page.limit && read.page.page.checked_add(1) == Some(page.page)
        });
        match before {
            Some(before) => ListStart { below: Some(before.end), skipped: 0 },
            None => ListStart { below: None, skipped: page.offset() },
        }
    }

    /// Notes where a page has ended; an empty one ends nothing.
    pub fn end(&self, list: &str, page: Page, last: Option<Place>) {
        if let Some(end) = last {
            *self.0.lock() = Some(Read { list: list.to_owned(), page, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_page_of_the_same_list_goes_on_where_the_one_before_ended() {
        let pages = Pages::default();
        let (first, second) = (Page { limit: 2, page: 1 }, Page { limit: 2, page: 2 });
        let end = Place { at: 5, id: 7 };
        let anew = ListStart { below: None, skipped: 2 };
        assert_eq!(pages.start("a", second), anew);
        pages.end("a", first, Some(end));
        assert_eq!(pages.start("a", second), ListStart { below: Some(end), skipped: 0 });
        assert_eq!(pages.start("b", second), anew);
        assert_eq!(pages.start("a", Page { limit: 3, page: 2 }).skipped, 3);
        assert_eq!(pages.start("a", first), ListStart { below: None, skipped: 0 });
    }
}
