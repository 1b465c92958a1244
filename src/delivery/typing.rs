//! Who is writing where. Never stored; ends by itself where nobody says so.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Subject, WhenSlow, Where};
use crate::model::UserId;
use crate::wire::reply::Frame;

/// Who says no more within this time has stopped.
const ENDS_AFTER: Duration = Duration::from_secs(10);

/// Somebody writes in a conversation, or has stopped.
#[derive(Clone, Debug)]
pub struct Typing {
    /// Who.
    pub user: UserId,
    /// Where.
    pub conversation: Where,
    /// What those who have it open are told.
    pub frame: Frame,
    /// What they are told when it has ended by itself; `None` where it has ended.
    pub ended: Option<Frame>,
}

impl Typing {
    pub(super) fn when_slow(&self) -> WhenSlow {
        WhenSlow::Latest(Subject::Typing(self.conversation, self.user))
    }
}

/// Those who write, on one node.
#[derive(Debug, Default)]
pub(super) struct Writing(Mutex<HashMap<(UserId, Where), Until>>);

/// When somebody will have stopped, and what is told then.
type Until = (Instant, Arc<Typing>);

impl Writing {
    /// Notes that somebody has begun, goes on or has stopped.
    pub(super) fn note(&self, typing: &Typing) {
        let key = (typing.user, typing.conversation);
        let mut writing = self.0.lock();
        match &typing.ended {
            Some(ended) => {
                let end = Typing { frame: ended.clone(), ended: None, ..typing.clone() };
                writing.insert(key, (Instant::now() + ENDS_AFTER, Arc::new(end)));
            }
            None => drop(writing.remove(&key)),
        }
    }

    /// Those who have said no more for too long; each is given out once.
    pub(super) fn ended(&self) -> Vec<Arc<Typing>> {
        let now = Instant::now();
        let mut ended = Vec::new();
        self.0.lock().retain(|_, (until, end)| {
            let goes_on = *until > now;
            if !goes_on {
                ended.push(Arc::clone(end));
            }
            goes_on
        });
        ended
    }
}
