//! The processes of a run: started, hurt and ended.

mod clusters;
pub(crate) mod folder;
pub(crate) mod hark;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod signals;

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition that nothing announces is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits until `condition` is true; false where it is not within `patience`.
pub(crate) async fn wait_for(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        sleep(LOOK_EVERY).await;
    }
}
