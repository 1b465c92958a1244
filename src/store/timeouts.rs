//! Timeouts that concern every connection.

use std::time::Duration;

/// Maximum wait for a connection; past it the caller gets `overloaded`.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that was idle for longer is pinged before it is used, so that one which died with its server fails
/// no request. A busy connection costs no ping.
pub(super) const PING_AFTER_IDLE: Duration = Duration::from_secs(1);
