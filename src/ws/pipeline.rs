//! The pipeline of one socket: its requests in flight, answered in the order in which they were sent.
//!
//! Only the first request is polled. The writer does the work of a send, so the sends after it progress as well.
//! Any other command starts when it is first polled, which is after everything before it has finished, and no
//! further request is processed until it has finished. So a read that follows a send sees its message.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, ready};

use futures_util::future::BoxFuture;

use crate::delivery::Event;
use crate::limits::memory::Reservation;
use crate::wire::reply::Frame;

/// What a request has resulted in.
pub(super) struct Response {
    pub(super) reply: Frame,
    pub(super) events: Vec<Event>,
}

/// Whether further requests may enter the pipeline before a request is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Execution {
    /// They may: the request is a send, or is answered already.
    Concurrent,
    /// They wait until the request is answered.
    Exclusive,
}

/// The requests in flight.
pub(super) struct Pipeline {
    queue: VecDeque<(BoxFuture<'static, Response>, Reservation)>,
    last: Execution,
    max_in_flight: usize,
}

impl Pipeline {
    pub(super) fn new(max_in_flight: usize) -> Self {
        Self { queue: VecDeque::new(), last: Execution::Concurrent, max_in_flight }
    }

    /// Appends a request, with the memory that is reserved for it until it is answered.
    pub(super) fn push(&mut self, request: BoxFuture<'static, Response>, execution: Execution, reserved: Reservation) {
        self.queue.push_back((request, reserved));
        self.last = execution;
    }

    /// Whether another request may enter.
    pub(super) fn has_capacity(&self) -> bool {
        self.queue.len() < self.max_in_flight && (self.last == Execution::Concurrent || self.queue.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The next response. The future is pending for ever while the pipeline is empty. Cancel safe.
    pub(super) async fn next(&mut self) -> Response {
        poll_fn(|context| match self.queue.front_mut() {
            Some((first, _)) => {
                let response = ready!(first.as_mut().poll(context));
                self.queue.pop_front();
                Poll::Ready(response)
            }
            None => Poll::Pending,
        })
        .await
    }
}
