//! Typing indicators of one node. They are never stored, and time out if the client sends nothing more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::push::{ConversationKey, TypingEvent};
use crate::model::UserId;

/// An indicator that is not renewed within this time ends.
const TYPING_TIMEOUT: Duration = Duration::from_secs(10);

/// The users who type, on one node.
#[derive(Debug, Default)]
pub(super) struct TypingIndicators(Mutex<HashMap<(UserId, ConversationKey), Indicator>>);

#[derive(Debug)]
struct Indicator {
    expires_at: Instant,
    /// The event that ends it.
    end: Arc<TypingEvent>,
}

impl TypingIndicators {
    /// Records that a user starts, continues or stops typing.
    pub(super) fn record(&self, event: &TypingEvent) {
        let key = (event.user, event.conversation);
        let mut indicators = self.0.lock();
        match &event.timeout_frame {
            Some(frame) => {
                let end = Arc::new(TypingEvent { frame: frame.clone(), timeout_frame: None, ..event.clone() });
                indicators.insert(key, Indicator { expires_at: Instant::now() + TYPING_TIMEOUT, end });
            }
            None => drop(indicators.remove(&key)),
        }
    }

    /// Removes the indicators that timed out, and returns the events that end them.
    pub(super) fn take_expired(&self) -> Vec<Arc<TypingEvent>> {
        let now = Instant::now();
        let mut expired = Vec::new();
        self.0.lock().retain(|_, indicator| {
            let is_expired = indicator.expires_at <= now;
            if is_expired {
                expired.push(Arc::clone(&indicator.end));
            }
            !is_expired
        });
        expired
    }
}
