//! Account deletion. The first transaction deletes the account; the groups, lists and notifications that
//! refer to it follow in portions, here for a bounded time and then in a background task.

use std::time::Duration;

use crate::app::App;
use crate::commands::{continue_deletion, offline_event};
use crate::delivery::Event;
use crate::error::Error;
use crate::model::UserId;
use crate::store::users::deletion;

/// Maximum time that a request waits for the portions. A background task continues the deletion of a large account.
const INLINE_TIMEOUT: Duration = Duration::from_secs(2);

/// Deletes an account, ends its sessions, and notifies the users who see its presence and the
/// members of its groups. To be run to completion: what is deleted must be announced.
///
/// # Errors
/// Only if the database fails before the account is deleted.
pub async fn delete(app: &App, user: UserId) -> Result<(), Error> {
    // Before the deletion, because afterwards the user has no contacts any more.
    let offline_push = offline_event(app, user).await?;
    let Some(name) = deletion::start(&app.db, user).await? else { return Ok(()) };
    app.delivery.presence.suppress(user);
    app.delivery.publish(&offline_push);
    app.delivery.publish(&Event::SessionsEnded { user, keep: None });
    // The account is deleted already, so an error in the portions does not change the answer.
    if let Err(error) = continue_deletion(app, user, &name, INLINE_TIMEOUT).await {
        drop(error.log_and_convert());
    }
    Ok(())
}
