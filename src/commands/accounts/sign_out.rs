//! Sign-out: ends a session, whose tokens are refused and whose sockets are closed from then on.

use crate::app::App;
use crate::delivery::Event;
use crate::error::Error;
use crate::model::{SessionId, UserId};
use crate::store::users::sessions;

/// Ends a session of this user, and notifies the nodes that have sockets of it. To be run to completion:
/// a session that has ended must be announced.
///
/// # Errors
/// `not_found` if the user has no such session.
pub async fn end_session(app: &App, user: UserId, session: SessionId) -> Result<(), Error> {
    let session = sessions::end(&app.db, session, user).await?.ok_or_else(no_such_session)?;
    app.delivery.publish(&Event::SessionEnded { user, session });
    Ok(())
}

/// The refusal if `id` names no session of the caller.
#[must_use]
pub fn no_such_session() -> Error {
    Error::not_found("id: there is no such session")
}
