//! Exponential backoff between failed attempts of a background loop.

use std::time::Duration;

use tokio::time::sleep;

use crate::error::Error;

/// The first delay.
pub(super) const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Maximum delay. Each one is twice the one before.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

/// The delay before the next attempt. Only the first failure in a row is logged.
#[derive(Default)]
pub(super) struct Backoff {
    last_delay: Option<Duration>,
}

impl Backoff {
    /// Waits until the next attempt.
    pub(super) async fn wait(&mut self, error: Error) {
        if self.last_delay.is_none() {
            drop(error.log_and_convert());
        }
        let delay = self.last_delay.map_or(MIN_RETRY_DELAY, |last| (last * 2).min(MAX_RETRY_DELAY));
        self.last_delay = Some(delay);
        sleep(delay).await;
    }
}
