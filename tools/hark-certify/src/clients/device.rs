//! A device of a user: it connects, runs random actions, loses its socket, and reconnects.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hark_harness::accounts::log_in;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::actions::next_action;
use super::device_state::{Action, DeviceState, OutgoingMessage, Purpose, remember};
use crate::clients::connection::{ConnectError, ConnectTarget, Connection, Incoming};
use crate::clients::shared::{Membership, SharedState};
use crate::history::event::{Conversation, Message};
use crate::history::recorder::Recorder;

/// Pending requests of one device.
const MAX_PENDING: usize = 8;
/// The mean interval between two actions of one device.
const ACTION_INTERVAL: Duration = Duration::from_millis(80);
/// The wait before a send that was refused temporarily is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(300);
/// The backoff of reconnects: it doubles with each try, and has jitter.
const MIN_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// One of this many requests is followed by a ping.
const REQUESTS_PER_PING: u32 = 20;

/// What the devices do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Random actions.
    Act,
    /// They repeat unconfirmed sends, and end.
    Drain,
}

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    state: DeviceState,
    recorder: Recorder,
    /// The index of the server that it connects to.
    server: usize,
    pending: HashMap<u64, Purpose>,
    /// Sends that are not confirmed, with the times of their retries.
    unconfirmed: VecDeque<(Instant, OutgoingMessage)>,
    next_id: u64,
    cuts: watch::Receiver<u64>,
}

/// Why a device leaves its socket.
enum Disconnect {
    /// All sends are confirmed or refused.
    Drained,
    /// The socket has ended; the server asks to wait this long before a reconnect.
    Lost(Option<Duration>),
    /// The socket is to be cut.
    Cut,
}

impl Device {
    /// The device `number` of a round. Its random choices depend on the seed and the number.
    pub(crate) fn new(shared: &Arc<SharedState>, recorder: &Recorder, user: usize, number: usize, seed: u64) -> Self {
        let account = shared.accounts[user].clone();
        let rng = StdRng::seed_from_u64(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        Self {
            state: DeviceState::new(account, shared, number, rng),
            recorder: recorder.clone(),
            server: number % shared.servers.len(),
            pending: HashMap::new(),
            unconfirmed: VecDeque::new(),
            next_id: 0,
            cuts: shared.cuts(),
        }
    }

    /// Runs until all sends are confirmed or refused.
    pub(crate) async fn run(mut self, mut stage: watch::Receiver<Stage>) {
        let mut backoff = MIN_BACKOFF;
        loop {
            let target = ConnectTarget {
                servers: &self.state.shared.servers,
                server: self.server,
                user: self.state.account.id,
                token: &self.state.account.token,
            };
            match Connection::open(target, Some(&self.recorder)).await {
                Ok(mut connection) => {
                    backoff = MIN_BACKOFF;
                    let end = self.run_socket(&mut connection, &mut stage).await;
                    self.on_disconnect();
                    match end {
                        Disconnect::Drained => return connection.close().await,
                        Disconnect::Cut => self.cut_socket(connection).await,
                        Disconnect::Lost(asked) => sleep(asked.unwrap_or(MIN_BACKOFF).min(MAX_BACKOFF)).await,
                    }
                    continue;
                }
                Err(ConnectError::Unauthorized) => self.log_in().await,
                Err(ConnectError::Unavailable) => {}
            }
            self.server = (self.server + 1) % self.state.shared.servers.len();
            sleep(backoff.mul_f64(self.state.rng.random_range(0.5..1.5))).await;
            backoff = (backoff * 2).min(MAX_BACKOFF);
        }
    }

    async fn run_socket(&mut self, connection: &mut Connection, stage: &mut watch::Receiver<Stage>) -> Disconnect {
        let first = [Some(("subscribe", json!({ "events": ["all"] }), Purpose::Other)), self.state.sync()];
        for action in first.into_iter().flatten() {
            if !self.send(connection, action).await {
                return Disconnect::Lost(None);
            }
        }
        let mut next = Instant::now();
        loop {
            let now = *stage.borrow();
            if now == Stage::Drain && self.pending.is_empty() && self.unconfirmed.is_empty() {
                return Disconnect::Drained;
            }
            let may_send = self.pending.len() < MAX_PENDING && (now == Stage::Act || !self.unconfirmed.is_empty());
            tokio::select! {
                incoming = connection.receive() => match incoming {
                    Incoming::Reply(reply) => {
                        if let Some(action) = self.on_reply(&reply) && !self.send(connection, action).await {
                            return Disconnect::Lost(None);
                        }
                    }
                    Incoming::Push(push) => self.on_push(&push),
                    Incoming::Closed(code, reason) => {
                        // The reason of a close 1001 is the number of milliseconds to wait.
                        let wait = reason.parse().ok().filter(|_| code == Some(1001)).map(Duration::from_millis);
                        return Disconnect::Lost(wait);
                    }
                },
                () = sleep_until(next), if may_send => {
                    next = Instant::now() + ACTION_INTERVAL.mul_f64(self.state.rng.random_range(0.0..2.0));
                    let action = self.repeat().or_else(|| if now == Stage::Act { next_action(&mut self.state) } else { None });
                    if let Some(action) = action && !self.send(connection, action).await {
                        return Disconnect::Lost(None);
                    }
                }
                _ = self.cuts.changed(), if now == Stage::Act => if self.state.rng.random() { return Disconnect::Cut },
                changed = stage.changed() => if changed.is_err() { return Disconnect::Drained },
            }
        }
    }

    /// The next unconfirmed send whose retry is due.
    fn repeat(&mut self) -> Option<Action> {
        let (due, _) = self.unconfirmed.front()?;
        if *due > Instant::now() {
            return None;
        }
        let (_, message) = self.unconfirmed.pop_front()?;
        let (frame_type, params) = message.request(self.state.account.id);
        Some((frame_type, params, Purpose::Send(message)))
    }

    async fn send(&mut self, connection: &mut Connection, (frame_type, params, purpose): Action) -> bool {
        self.next_id += 1;
        self.pending.insert(self.next_id, purpose);
        if self.state.rng.random_ratio(1, REQUESTS_PER_PING) {
            connection.send_request_and_ping(frame_type, &params, self.next_id).await
        } else {
            connection.send_request(frame_type, &params, self.next_id).await
        }
    }

    /// Processes a reply; returns a request that has to follow at once.
    fn on_reply(&mut self, reply: &Value) -> Option<Action> {
        let purpose = self.pending.remove(&reply["id"].as_u64()?)?;
        let is_done = reply["success"] == true;
        let is_temporary = matches!(reply["code"].as_str(), Some("overloaded" | "internal" | "rate_limited"));
        let item = &reply["params"]["item"];
        match purpose {
            Purpose::Send(message) if is_done => {
                if let Some(id) = item["messageId"].as_i64() {
                    remember(&mut self.state.own, (message.conversation, id, message.name.clone()));
                    remember(&mut self.state.confirmed, message);
                }
            }
            Purpose::Send(message) if is_temporary => {
                self.unconfirmed.push_back((Instant::now() + RETRY_DELAY, message));
            }
            Purpose::ChangeMembership { group, user, to, .. } if is_done => {
                self.state.shared.set_membership(group, user, to);
            }
            Purpose::ChangeMembership { group, user, .. } if is_temporary => {
                self.state.shared.set_membership(group, user, Membership::Unknown);
            }
            Purpose::ChangeMembership { group, user, from, .. } => self.state.shared.set_membership(group, user, from),
            Purpose::Sync => {
                self.state.is_syncing = false;
                if let Some(cursor) = item["cursor"].as_str().filter(|_| is_done) {
                    cursor.clone_into(&mut self.state.cursor);
                    self.state.shared.add_cursor(self.state.account.id, cursor);
                    if item["more"] == true {
                        return self.state.sync();
                    }
                }
            }
            Purpose::Send(_) | Purpose::Other => {}
        }
        None
    }

    fn on_push(&mut self, push: &Value) {
        let item = &push["params"]["item"];
        let is_message = matches!(push["type"].as_str(), Some("privateMessage" | "messageInGroup"));
        if let (true, Some(conversation), Some(message)) =
            (is_message, Message::conversation(item), Message::parse(item))
        {
            remember(&mut self.state.received, (conversation, message.id, message.seq));
        }
    }

    /// Clears the pending requests of a socket that has ended. They may have taken effect or not.
    fn on_disconnect(&mut self) {
        self.state.is_syncing = false;
        let mut pending: Vec<_> = self.pending.drain().collect();
        pending.sort_unstable_by_key(|(id, _)| *id);
        for (_, purpose) in pending {
            match purpose {
                Purpose::Send(message) => self.unconfirmed.push_back((Instant::now(), message)),
                Purpose::ChangeMembership { group, user, .. } => {
                    self.state.shared.set_membership(group, user, Membership::Unknown);
                }
                Purpose::Sync | Purpose::Other => {}
            }
        }
    }

    /// Cuts the socket in the middle of a send, which is repeated after the reconnect.
    async fn cut_socket(&mut self, connection: Connection) {
        let other = self.state.shared.accounts[0].id;
        let message = self.state.new_message(Conversation::dialog(self.state.account.id, other));
        let (frame_type, params) = message.request(self.state.account.id);
        connection.cut_mid_frame(frame_type, &params).await;
        self.unconfirmed.push_back((Instant::now(), message));
    }

    async fn log_in(&mut self) {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        let Ok(http) = http else { return };
        if let Ok(account) = log_in(&http, &self.state.shared.servers[self.server], &self.state.account.email).await {
            self.state.account = account;
        }
    }
}
