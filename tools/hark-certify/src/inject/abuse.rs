//! One user who floods the server, within the rate limits of a user. The abuser is not recorded: the checker sees the
//! effect on all other clients, and on the victim.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hark_harness::accounts::{Account, AccountError, log_in};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::clients::connection::{ConnectTarget, Connection, Incoming};
use crate::clients::setup::{http_client, sign_up_with_retry};
use crate::clients::shared::SharedState;
use crate::history::event::Event;
use crate::history::recorder::Recorder;

/// Open sockets of the abuser: as many as the server allows one user.
const SOCKETS: usize = 20;
/// The interval of requests on a socket: slightly below the server's rate limit.
const REQUEST_INTERVAL: Duration = Duration::from_millis(22);
const RETRY_DELAY: Duration = Duration::from_millis(200);
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// The interval of the victim's requests, and of the other user's logins.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);
/// Addresses that wrong logins come from, each within its rate limit.
const ADDRESSES: usize = 400;
const LOGIN_INTERVAL: Duration = Duration::from_secs(2);
/// Connections whose responses are not read, and pipelined requests on each.
const UNREAD_CONNECTIONS: usize = 300;
const PIPELINED: usize = 300;
/// Fills a message of almost the maximum length. It contains the pairs of characters of [`QUERY`], which the search
/// index matches, but not all three together.
const NOTE: &str = "甲乙 乙丙 ";
const NOTE_BYTES: usize = 16_000;
const QUERY: &str = "甲乙丙";
/// The number of pages after which a count ends.
const MAX_COUNTED_PAGES: usize = 11;
/// User ids that one `getOnlineInfo` may contain.
const ONLINE: i64 = 1000;

/// The accounts: the abuser, the victim, and another user who logs in meanwhile.
pub(super) struct Abuse {
    abuser: Account,
    victim: Account,
    /// The e-mail address of the other user.
    email: String,
}

impl Abuse {
    /// Signs up the accounts, each from an address of its own.
    pub(super) async fn sign_up(shared: &SharedState) -> Result<Self, String> {
        let run = rand::random::<u32>();
        let mut accounts = Vec::new();
        for (nth, name) in ["abuser", "victim", "other"].into_iter().enumerate() {
            let email = format!("{name}-{run:08x}@certify.invalid");
            accounts.push(sign_up_with_retry(&http_client(10_000 + nth)?, &shared.servers[0], &email, name).await?);
        }
        let (Some(other), Some(victim), Some(abuser)) = (accounts.pop(), accounts.pop(), accounts.pop()) else {
            return Err("an account is missing".to_owned());
        };
        Ok(Self { abuser, victim, email: other.email })
    }

    /// Runs each kind of abuse in turn, and records the victim's requests and the other user's logins meanwhile.
    pub(super) async fn run(&self, shared: &SharedState, recorder: &Recorder, length: Duration) {
        let is_over = AtomicBool::new(false);
        let abuses = async {
            let (me, victim) = (self.abuser.id, self.victim.id);
            let users: Vec<i64> = (1..=ONLINE).collect();
            let note = NOTE.repeat(NOTE_BYTES / NOTE.len());
            let flood = async |share: f64, frame_type: &str, params: &(dyn Fn(u64) -> Value + Sync)| {
                recorder.note(Event::Abuse { kind: frame_type.to_owned() });
                self.flood(shared, length.mul_f64(share), frame_type, params).await;
            };
            // `newGroup` has the largest share: the more groups there are, the more each following request costs.
            let group = |nth| json!({ "groupName": format!("Group {nth}"), "userIds": [victim] });
            flood(0.4, "newGroup", &group).await;
            flood(0.08, "getOnlineInfo", &|_| json!({ "userIds": users })).await;
            flood(0.1, "sendNotification", &|_| json!({ "userId": victim, "kind": "like" })).await;
            recorder.note(Event::Abuse { kind: "unread responses".to_owned() });
            self.leave_responses_unread(shared, length.mul_f64(0.08)).await;
            recorder.note(Event::Abuse { kind: "logins".to_owned() });
            self.wrong_logins(shared, length.mul_f64(0.1)).await;
            flood(0.12, "privateMessage", &|_| json!({ "receiverId": me, "content": note })).await;
            flood(0.12, "searchMessages", &|_| json!({ "query": QUERY, "limit": 100 })).await;
            is_over.store(true, Ordering::Relaxed);
        };
        // All three end after their last request was answered or timed out.
        tokio::join!(abuses, self.act_as_victim(shared, recorder, &is_over), self.log_in(shared, recorder, &is_over));
        self.count(shared, recorder).await;
    }

    /// Records how many rows are in the victim's lists, and marks the notifications as read.
    async fn count(&self, shared: &SharedState, recorder: &Recorder) {
        let Account { id: user, token, .. } = &self.victim;
        let target = ConnectTarget { servers: &shared.servers, server: 0, user: *user, token };
        let Ok(mut connection) = Connection::open(target, Some(recorder)).await else { return };
        let mut id = 0;
        for (kind, frame_type, filter) in
            [("groups", "listConversations", Some("groups")), ("notifications", "listNotifications", None)]
        {
            let mut count = 0;
            for page in 1..=MAX_COUNTED_PAGES {
                id += 1;
                let mut params = json!({ "limit": 100, "page": page });
                if let Some(filter) = filter {
                    params["filter"] = json!(filter);
                }
                let Some(reply) = connection.call_with_ping(frame_type, &params, id, REPLY_TIMEOUT).await else {
                    return;
                };
                let rows = reply["params"]["data"].as_array().map_or(0, Vec::len);
                count += rows;
                if rows < 100 {
                    break;
                }
            }
            recorder.note(Event::Imposed { kind: kind.to_owned(), count });
        }
        let _ = connection.call_with_ping("readNotifications", &json!({}), id + 1, REPLY_TIMEOUT).await;
        connection.close().await;
    }

    /// Sends requests of one type on all sockets of the abuser, as fast as the rate limits allow, each followed by a
    /// ping.
    async fn flood(
        &self,
        shared: &SharedState,
        length: Duration,
        frame_type: &str,
        params: &(dyn Fn(u64) -> Value + Sync),
    ) {
        let until = Instant::now() + length;
        let socket = async |nth: usize| {
            let servers = &shared.servers;
            let Account { id: user, token, .. } = &self.abuser;
            let target = ConnectTarget { servers, server: nth % servers.len(), user: *user, token };
            // The server may not have noticed yet that the previous sockets are closed.
            let mut connection = loop {
                match Connection::open(target, None).await {
                    Ok(connection) => break connection,
                    Err(_) if Instant::now() < until => sleep(RETRY_DELAY).await,
                    Err(_) => return,
                }
            };
            let mut ticks = interval(REQUEST_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for id in 1.. {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                tokio::select! {
                    _ = ticks.tick() => {
                        let is_sent = timeout(left.min(WRITE_TIMEOUT), connection.send_request_and_ping(frame_type, &params(id), id)).await;
                        if is_sent == Ok(false) {
                            return;
                        }
                    }
                    incoming = connection.receive() => if matches!(incoming, Incoming::Closed(..)) { return },
                    () = sleep(left) => break,
                }
            }
            connection.close().await;
        };
        join_all((0..SOCKETS).map(socket)).await;
    }

    /// Sends the victim's ordinary requests.
    async fn act_as_victim(&self, shared: &SharedState, recorder: &Recorder, is_over: &AtomicBool) {
        let (mut connection, mut id, mut cursor) = (None, 0, None::<String>);
        while !is_over.load(Ordering::Relaxed) {
            let Account { id: user, token, .. } = &self.victim;
            if connection.is_none() {
                let target = ConnectTarget { servers: &shared.servers, server: 0, user: *user, token };
                connection = Connection::open(target, Some(recorder)).await.ok();
            }
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor, "limit": 100 }));
            let people: Vec<i64> = shared.accounts.iter().map(|person| person.id).collect();
            for (frame_type, params) in [
                ("searchMessages", json!({ "query": "tea", "limit": 20 })),
                ("listConversations", json!({ "limit": 20 })),
                ("getOnlineInfo", json!({ "userIds": people })),
                ("listNotifications", json!({ "limit": 20 })),
                ("sync", params),
            ] {
                sleep(PROBE_INTERVAL).await;
                id += 1;
                let Some(open) = connection.as_mut().filter(|_| !is_over.load(Ordering::Relaxed)) else { break };
                match open.call_with_ping(frame_type, &params, id, REPLY_TIMEOUT).await {
                    Some(reply) if frame_type == "sync" => {
                        cursor = reply["params"]["item"]["cursor"].as_str().map(str::to_owned).or(cursor.take());
                    }
                    Some(_) => {}
                    None => connection = None,
                }
            }
        }
    }

    /// Logs in the other user with the right password, from another address each time.
    async fn log_in(&self, shared: &SharedState, recorder: &Recorder, is_over: &AtomicBool) {
        for nth in 20_000.. {
            sleep(PROBE_INTERVAL).await;
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let Ok(http) = http_client(nth) else { return };
            let asked_at = recorder.now();
            let status = match log_in(&http, &shared.servers[0], &self.email).await {
                Ok(_) => Some(200),
                Err(AccountError::Refused(status, _)) => Some(status.as_u16()),
                Err(AccountError::Unreachable(_)) => None,
            };
            recorder.note(Event::Login { asked_at, status });
        }
    }

    /// Logs in with a wrong password, from many addresses.
    async fn wrong_logins(&self, shared: &SharedState, length: Duration) {
        let clients: Vec<_> = (0..ADDRESSES).filter_map(|nth| http_client(30_000 + nth).ok()).collect();
        let url = format!("{}/api/v1/auth/login", shared.servers[0]);
        let guess = async |http: &reqwest::Client| {
            let mut ticks = interval(LOGIN_INTERVAL);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let who = json!({ "email": self.abuser.email, "password": "a wrong password" });
                let _ = http.post(&url).json(&who).send().await;
            }
        };
        let _ = timeout(length, join_all(clients.iter().map(guess))).await;
    }

    /// Pipelines requests for a long document, and reads no response.
    async fn leave_responses_unread(&self, shared: &SharedState, length: Duration) {
        let address = shared.servers[0].trim_start_matches("http://");
        let request = format!("GET /api/openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(PIPELINED);
        let mut streams = Vec::new();
        for _ in 0..UNREAD_CONNECTIONS {
            if let Ok(Ok(mut stream)) = timeout(WRITE_TIMEOUT, TcpStream::connect(address)).await {
                // Writes what the server's buffers take.
                let _ = timeout(Duration::from_millis(5), stream.write_all(request.as_bytes())).await;
                streams.push(stream);
            }
        }
        sleep(length).await;
    }
}
