//! The frames about the socket itself: its token, and the pushes that it subscribes to.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::context::{Context, Outcome};
use crate::delivery::socket::Socket;
use crate::error::Error;
use crate::model::{Topic, Topics};
use crate::store::conversations;
use crate::store::users::sessions;
use crate::wire::close::Close;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// Replaces the token of the socket, so that it outlives the old one. A bad token changes nothing.
///
/// `{"type": "authenticate", "params": {"token": "eyJ…"}}`
#[derive(Debug)]
pub struct Authenticate {
    /// A new token of the same user.
    pub token: String,
}

impl FromFields for Authenticate {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { token: fields.required("token")? })
    }
}

/// Sets the optional pushes that the socket gets.
///
/// `{"type": "subscribe", "params": {"events": ["receipts", "own"]}}`
#[derive(Debug)]
pub struct Subscribe {
    /// The topics from now on; earlier ones that are not among them end.
    pub events: Topics,
}

impl FromFields for Subscribe {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { events: fields.required("events")? })
    }
}

/// The topics that the socket gets from now on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Subscription {
    events: Vec<&'static str>,
}

pub(super) async fn authenticate(
    params: Authenticate,
    context: Context,
    socket: Arc<Socket>,
) -> Result<Outcome, Error> {
    let Context { app, user, .. } = context;
    let claims =
        app.tokens.read(&params.token).filter(|claims| claims.user() == user).ok_or_else(Error::unauthorized)?;
    // The new session is assigned to the socket before it is checked, so that a logout during the check closes the
    // socket.
    let (old_session, old_expiry) = (socket.session(), socket.expires_at());
    socket.renew(claims.session(), claims.exp);
    if let Err(error) = app.check_session(&claims).await {
        socket.renew(old_session, old_expiry);
        // The old session may have ended while the socket was assigned to the new one.
        if !sessions::is_open(&app.db, old_session, user).await? {
            socket.outbox.ask_to_close(Close::Unauthorized);
        }
        return Err(error);
    }
    Ok(Body::done().into())
}

/// The topics hold from the reply on.
pub(super) async fn subscribe(params: Subscribe, context: Context, socket: Arc<Socket>) -> Result<Outcome, Error> {
    if params.events.has(Topic::Notifications) {
        // There are no notifications of conversations that the user has marked as spam.
        let spam = conversations::list_spam(&context.app.db, context.user).await?;
        socket.mute(spam, true);
    }
    socket.subscribe(params.events);
    let events = params.events.iter().map(Topic::name).collect();
    Ok(Body::item(&Subscription { events }).into())
}
