//! [`App`]: what every request needs, in one shared value. Sessions are rows of the store and tokens are verified by
//! `auth`; these do not import each other, so a token is checked against its session here.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::auth::known_networks::KnownNetworks;
use crate::auth::passwords::PasswordHasher;
use crate::auth::tokens::{Claims, Tokens};
use crate::cluster::ClusterNode;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::error::Error;
use crate::limits::admission::AdmissionLimiter;
use crate::limits::fair_queue::{FairPermit, FairQueue};
use crate::limits::keyed_rate_limit::{IpPrefix, KeyedRateLimiter};
use crate::limits::memory::MemoryBudget;
use crate::model::{SessionKey, UserId};
use crate::store::Db;
use crate::store::users::sessions;
use crate::store::writer::Writer;
use crate::telemetry::Metrics;

/// The parts of a running server.
#[derive(Debug)]
pub struct App {
    /// The settings.
    pub config: Config,
    /// The database, for everything but sends.
    pub db: Db,
    /// The write pipeline, which takes every send.
    pub writer: Writer,
    /// Pushes, to the sockets of this node and of the others.
    pub delivery: Delivery,
    /// This node's membership in its cluster.
    pub cluster: Arc<ClusterNode>,
    /// Signs and verifies tokens.
    pub tokens: Tokens,
    /// Hashes and verifies passwords.
    pub passwords: PasswordHasher,
    /// Rate limit of sign-ups, by network.
    pub sign_ups: KeyedRateLimiter<IpPrefix>,
    /// Rate limit of logins, by network.
    pub logins: KeyedRateLimiter<IpPrefix>,
    /// The networks from which users have signed up or in on this node, for users whose sessions do not name them.
    pub known_networks: KnownNetworks,
    /// Rate limit of requests over HTTP and of upgrades, by session, whether it is open or not.
    pub session_requests: KeyedRateLimiter<SessionKey>,
    /// Rate limit of upgrades, by user.
    pub user_upgrades: KeyedRateLimiter<UserId>,
    /// Rate limit of requests over HTTP, by user.
    pub user_requests: KeyedRateLimiter<UserId>,
    /// Limits the requests of one user that run at the same time, over all sockets and HTTP, except sends.
    pub request_queue: FairQueue,
    /// Limits the exports of one user. Each holds its permit until its response was read to the end.
    pub export_queue: FairQueue,
    /// Cancelled when the shutdown begins: requests stop waiting for the rest of their bodies.
    pub shutdown: CancellationToken,
    /// Admission control for upgrades.
    pub upgrades: AdmissionLimiter,
    /// What requests and their replies may use of this node's memory.
    pub memory: Arc<MemoryBudget>,
    /// The metrics of this server.
    pub metrics: Metrics,
}

/// An authenticated caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// The session that the token names.
    pub session: SessionKey,
}

impl App {
    /// Authenticates a token.
    ///
    /// # Errors
    /// `unauthorized` if this server did not sign it, or it or its session has ended.
    pub async fn identify(&self, token: &str) -> Result<Identity, Error> {
        let claims = self.tokens.read(token).ok_or_else(Error::unauthorized)?;
        self.check_session(&claims).await
    }

    /// Authenticates the token of a request over HTTP, and counts the request against the rate limits.
    ///
    /// # Errors
    /// `unauthorized` as [`identify`](Self::identify), `rate_limited` with the time to wait.
    pub async fn identify_and_count(&self, token: &str) -> Result<Identity, Error> {
        let claims = self.tokens.read(token).ok_or_else(Error::unauthorized)?;
        // Counted before the database is queried, and therefore by session: requests with a revoked token use up
        // no user's rate.
        self.session_requests.check(claims.session())?;
        let me = self.check_session(&claims).await?;
        self.user_requests.check(me.user)?;
        Ok(me)
    }

    /// Waits for one of the user's places in the request queue. `history` is the history of the database at
    /// which the user was authenticated, see [`Db::history`].
    ///
    /// # Errors
    /// `overloaded` if that takes too long, or the database was restored meanwhile.
    pub async fn acquire_request_permit(&self, user: UserId, history: u64) -> Result<FairPermit, Error> {
        let permit = self.request_queue.acquire(user).await?;
        self.db.ensure_same_history(history)?;
        Ok(permit)
    }

    /// Checks that the session which a token names is open.
    ///
    /// # Errors
    /// `unauthorized` if it is not.
    pub async fn check_session(&self, claims: &Claims) -> Result<Identity, Error> {
        let (user, session) = (claims.user(), claims.session());
        if sessions::is_open(&self.db, session, user).await? {
            Ok(Identity { user, session })
        } else {
            Err(Error::unauthorized())
        }
    }
}
