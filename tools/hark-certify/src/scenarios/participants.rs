//! The users of a scenario. Each sends one request at a time, on a socket that is opened again where it has ended.

use std::time::Duration;

use hark_harness::accounts::{Account, log_in};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::clients::connection::{ConnectError, ConnectTarget, Connection};
use crate::clients::setup::http_client;
use crate::history::recorder::Recorder;

/// Maximum wait for a reply.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a request or a connect is repeated.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// The users. They are named by their index.
pub(super) struct Participants {
    pub(super) servers: Vec<String>,
    pub(super) recorder: Recorder,
    participants: Vec<Participant>,
    next_id: u64,
}

struct Participant {
    account: Account,
    connection: Option<Connection>,
}

impl Participants {
    pub(super) fn new(servers: Vec<String>, recorder: Recorder, accounts: Vec<Account>) -> Self {
        let participants = accounts.into_iter().map(|account| Participant { account, connection: None }).collect();
        Self { servers, recorder, participants, next_id: 0 }
    }

    /// The account of a user, with the token of the last login.
    pub(super) fn account(&self, who: usize) -> &Account {
        &self.participants[who].account
    }

    /// Whether a user has a socket.
    pub(super) fn is_connected(&self, who: usize) -> bool {
        self.participants[who].connection.is_some()
    }

    /// Sends a request until it succeeds or is refused for good: right after a fault, some requests are refused
    /// temporarily.
    pub(super) async fn insist(&mut self, who: usize, frame_type: &str, params: &Value) {
        let deadline = Instant::now() + RETRY_TIMEOUT;
        while Instant::now() < deadline {
            match self.call(who, frame_type, params).await {
                Some(reply) if !matches!(reply["code"].as_str(), Some("overloaded" | "internal")) => return,
                _ => sleep(RETRY_DELAY).await,
            }
        }
    }

    /// Sends a request on the open socket or on a new one, and returns its reply.
    pub(super) async fn call(&mut self, who: usize, frame_type: &str, params: &Value) -> Option<Value> {
        self.connect(who).await?;
        self.next_id += 1;
        let participant = &mut self.participants[who];
        let connection = participant.connection.as_mut()?;
        let reply = connection.call_with_ping(frame_type, params, self.next_id, REPLY_TIMEOUT).await;
        if reply.is_none() {
            participant.connection = None;
        }
        reply
    }

    async fn connect(&mut self, who: usize) -> Option<()> {
        let deadline = Instant::now() + RETRY_TIMEOUT;
        while !self.is_connected(who) {
            if Instant::now() > deadline {
                return None;
            }
            let account = &self.participants[who].account;
            let target = ConnectTarget { servers: &self.servers, server: 0, user: account.id, token: &account.token };
            match Connection::open(target, Some(&self.recorder)).await {
                Ok(mut connection) => {
                    let subscribed = connection.call("subscribe", &json!({ "events": ["all"] }), REPLY_TIMEOUT).await;
                    if subscribed.is_some() {
                        self.participants[who].connection = Some(connection);
                    }
                }
                Err(ConnectError::Unauthorized) => {
                    let email = account.email.clone();
                    if let Ok(account) = log_in(&http_client(who).ok()?, &self.servers[0], &email).await {
                        self.participants[who].account = account;
                    }
                }
                Err(ConnectError::Unavailable) => {}
            }
            if !self.is_connected(who) {
                sleep(RETRY_DELAY).await;
            }
        }
        Some(())
    }
}
