//! The socket itself: its session, and what it is told.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use super::{Context, Outcome};
use crate::delivery::socket::Socket;
use crate::error::Error;
use crate::model::{Topic, Topics};
use crate::store::conversations;
use crate::store::users::sessions;
use crate::wire::close::Close;
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::Body;

/// `{"type": "authenticate", "params": {"token": "eyJ…"}}`
#[derive(Debug)]
pub struct Authenticate {
    /// A fresh token of the same user.
    pub token: String,
}

impl FromFields for Authenticate {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { token: fields.required("token")? })
    }
}

/// `{"type": "subscribe", "params": {"events": ["receipts", "own"]}}`
#[derive(Debug)]
pub struct Subscribe {
    /// Which pushes from now on; what was asked for before and is not in it ends.
    pub events: Topics,
}

impl FromFields for Subscribe {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self { events: fields.required("events")? })
    }
}

/// What the socket gets from now on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Subscription {
    events: Vec<&'static str>,
}

/// Lets the socket live as long as the new token. A bad one changes nothing.
pub(super) async fn authenticate(
    params: Authenticate,
    context: Context,
    socket: Arc<Socket>,
) -> Result<Outcome, Error> {
    let Context { app, user, .. } = context;
    let claims =
        app.tokens.read(&params.token).filter(|claims| claims.user() == user).ok_or_else(Error::unauthorized)?;
    // First under the new session, then the look whether it is open: an end in between reaches the socket.
    let (old_session, old_expiry) = (socket.session(), socket.expires_at());
    socket.renew(claims.session(), claims.exp);
    if let Err(error) = app.check_session(&claims).await {
        socket.renew(old_session, old_expiry);
        // The old session may have ended meanwhile, and its end looked for it in vain.
        if !sessions::is_open(&app.db, old_session, user).await? {
            socket.outbox.ask_to_close(Close::Unauthorized);
        }
        return Err(error);
    }
    Ok(Body::done().into())
}

/// From the reply on the socket gets these pushes, and no other extra ones.
pub(super) async fn subscribe(params: Subscribe, context: Context, socket: Arc<Socket>) -> Result<Outcome, Error> {
    if params.events.has(Topic::Notifications) {
        // What is spam to them is no news either.
        let spam = conversations::spam_of(&context.app.db, context.user).await?;
        socket.mute(spam, true);
    }
    socket.subscribe(params.events);
    let events = params.events.iter().map(Topic::name).collect();
    Ok(Body::item(&Subscription { events }).into())
}
