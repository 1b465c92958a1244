//! What every request needs, in one shared value.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::auth::known_networks::KnownNetworks;
use crate::auth::passwords::PasswordHasher;
use crate::auth::tokens::{Claims, Tokens};
use crate::config::Config;
use crate::delivery::Delivery;
use crate::error::Error;
use crate::limits::admission::Pace;
use crate::limits::fair_queue::{FairQueue, Turn};
use crate::limits::memory::BytePool;
use crate::limits::rate_limit::{IpPrefix, KeyedRateLimiter};
use crate::model::{SessionKey, UserId};
use crate::store::Db;
use crate::store::users::sessions;
use crate::store::writer::Writer;
use crate::telemetry::Metrics;

/// A server's parts.
#[derive(Debug)]
pub struct App {
    /// The settings.
    pub config: Config,
    /// The database, for everything but sends.
    pub db: Db,
    /// The way of every send.
    pub writer: Writer,
    /// The way to everybody who is connected.
    pub delivery: Delivery,
    /// Signs and reads tokens.
    pub tokens: Tokens,
    /// Hashes and checks passwords.
    pub passwords: PasswordHasher,
    /// Sign-ups by address.
    pub sign_ups: KeyedRateLimiter<IpPrefix>,
    /// Logins by address.
    pub logins: KeyedRateLimiter<IpPrefix>,
    /// From where people have signed up and in on this node, in case that their sessions do not say so.
    pub known_networks: KnownNetworks,
    /// Requests over HTTP, and sockets to be opened, by session, open or not.
    pub session_requests: KeyedRateLimiter<SessionKey>,
    /// Sockets to be opened by user.
    pub user_openings: KeyedRateLimiter<UserId>,
    /// Requests over HTTP by user.
    pub user_requests: KeyedRateLimiter<UserId>,
    /// What is carried out at the same time for one user: over all sockets and HTTP, but for sends.
    pub requests: FairQueue,
    /// Exports that are under way, each until it is read to its end.
    pub exports: FairQueue,
    /// Cancelled when the server stops: it waits for no client that has not said what it wants.
    pub stop: CancellationToken,
    /// When sockets are opened.
    pub openings: Pace,
    /// What requests and their replies may take of this node's memory.
    pub pool: Arc<BytePool>,
    /// The counts of this server.
    pub metrics: Metrics,
}

/// Who is asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// Where they are signed in.
    pub session: SessionKey,
}

impl App {
    /// Who holds this token.
    ///
    /// # Errors
    /// `unauthorized` where it is not ours, has ended, or its session has.
    pub async fn identify(&self, token: &str) -> Result<Identity, Error> {
        let claims = self.tokens.read(token).ok_or_else(Error::unauthorized)?;
        self.check_session(&claims).await
    }

    /// Who holds this token and asks over HTTP, which counts.
    ///
    /// # Errors
    /// `unauthorized` as [`identify`](Self::identify), `rate_limited` with the time to wait.
    pub async fn identify_and_count(&self, token: &str) -> Result<Identity, Error> {
        let claims = self.tokens.read(token).ok_or_else(Error::unauthorized)?;
        // Before the database is asked, and so by session: a token that was revoked uses up nobody's rate.
        self.session_requests.check(claims.session())?;
        let me = self.check_session(&claims).await?;
        self.user_requests.check(me.user)?;
        Ok(me)
    }

    /// Waits for a turn of somebody who has asked in this history of the database, see [`Db::history`].
    ///
    /// # Errors
    /// `overloaded` where that takes too long, or the database was restored meanwhile.
    pub async fn turn(&self, user: UserId, history: u64) -> Result<Turn, Error> {
        let turn = self.requests.turn(user).await?;
        self.db.ensure_same_history(history)?;
        Ok(turn)
    }

    /// Whether the session that a token names is open.
    ///
    /// # Errors
    /// `unauthorized` where it is not.
    pub async fn check_session(&self, claims: &Claims) -> Result<Identity, Error> {
        let (user, session) = (claims.user(), claims.session());
        if sessions::is_open(&self.db, session, user).await? {
            Ok(Identity { user, session })
        } else {
            Err(Error::unauthorized())
        }
    }
}
