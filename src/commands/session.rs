//! The socket's own session.

use super::{Context, Outcome};
use crate::error::Error;
use crate::store::sessions;
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

/// Lets the socket live as long as the new token. A bad one changes nothing.
pub(super) async fn authenticate(params: Authenticate, context: Context) -> Result<Outcome, Error> {
    let Context { app, user, socket } = context;
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
