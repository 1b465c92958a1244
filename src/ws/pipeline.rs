//! The requests of one socket that wait for their reply, in the order in which they came.
//!
//! Only the first is polled. A send does its work elsewhere, so those behind it go on all the same;
//! any other command begins when it is first polled, which is after everything before it, and
//! nothing more is read until it is done. That is the whole of "a read that follows a send sees it".

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::ready;

use futures_util::future::BoxFuture;

use crate::delivery::Event;
use crate::limits::memory::Taken;
use crate::wire::reply::Frame;

/// What came of a request.
pub(super) struct Answered {
    pub(super) reply: Frame,
    pub(super) events: Vec<Event>,
}

/// Whether others may follow a request before it is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// They may: it is a send, or answered already.
    Overlaps,
    /// They wait for it.
    Alone,
}

pub(super) struct InFlight {
    queue: VecDeque<(BoxFuture<'static, Answered>, Taken)>,
    last: Pace,
    max: usize,
}

impl InFlight {
    pub(super) fn new(max: usize) -> Self {
        Self { queue: VecDeque::new(), last: Pace::Overlaps, max }
    }

    /// Adds a request and what it takes of the node's memory until it is answered.
    pub(super) fn push(&mut self, request: BoxFuture<'static, Answered>, pace: Pace, taken: Taken) {
        self.queue.push_back((request, taken));
        self.last = pace;
    }

    pub(super) fn takes_more(&self) -> bool {
        self.queue.len() < self.max && (self.last == Pace::Overlaps || self.queue.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next answer; waits for ever where there is none to come. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Answered {
        poll_fn(|context| match self.queue.front_mut() {
            Some((first, _)) => {
                let answered = ready!(first.as_mut().poll(context));
                self.queue.pop_front();
                answered.into()
            }
            None => std::task::Poll::Pending,
        })
        .await
    }
}
