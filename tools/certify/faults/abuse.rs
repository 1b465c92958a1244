//! One person who floods the server, within the limits of a person. Nothing of theirs is in the record:
//! the judge sees it by what it does to everybody else, and to the one whom it is aimed at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::accounts::{Account, NoAccount, log_in};
use crate::certify::people::World;
use crate::certify::people::link::{Heard, Link, Opening};
use crate::certify::people::{client, signed_up};
use crate::certify::record::Seen;
use crate::certify::recorder::Recorder;

/// Open sockets of one user, as many as the server lets them have.
const SOCKETS: usize = 20;
/// Between two requests of a socket: a little fewer than the server takes.
const ASKS_EVERY: Duration = Duration::from_millis(22);
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two things that the victim does, and two logins of somebody else.
const LOOKS_EVERY: Duration = Duration::from_millis(250);
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);
/// Addresses that wrong logins come from, each within its limit.
const ADDRESSES: usize = 400;
const LOGINS_EVERY: Duration = Duration::from_secs(2);
/// Connections whose answers nobody reads, and requests on each.
const DEAF: usize = 300;
const PIPELINED: usize = 300;
/// A note of almost as many bytes as a message may have. The pairs of letters of [`QUERY`] are in it, and
/// the three together are not.
const NOTE: &str = "甲乙 乙丙 ";
const NOTE_BYTES: usize = 16_000;
const QUERY: &str = "甲乙丙";
/// Pages that a count ends after.
const COUNTS_PAGES: usize = 11;
/// Users that one question of who is online may name.
const ONLINE: i64 = 1000;

/// Who abuses the server, who bears it, and somebody who logs in meanwhile.
pub(super) struct Cast {
    abuser: Account,
    victim: Account,
    email: String,
}

impl Cast {
    /// Signs them up, each at an address of their own.
    pub(super) async fn sign_up(world: &World) -> Result<Self, String> {
        let run = rand::random::<u32>();
        let mut accounts = Vec::new();
        for (nth, name) in ["abuser", "victim", "other"].into_iter().enumerate() {
            let email = format!("{name}-{run:08x}@certify.invalid");
            accounts.push(signed_up(&client(10_000 + nth)?, &world.servers[0], &email, name).await?);
        }
        let (Some(other), Some(victim), Some(abuser)) = (accounts.pop(), accounts.pop(), accounts.pop()) else {
            return Err("there is nobody".to_owned());
        };
        Ok(Self { abuser, victim, email: other.email })
    }

    /// One abuse after the other, while the victim and somebody who logs in are watched.
    pub(super) async fn abuse(&self, world: &World, recorder: &Recorder, length: Duration) {
        let is_over = AtomicBool::new(false);
        let abuses = async {
            let (me, victim) = (self.abuser.id, self.victim.id);
            let users: Vec<i64> = (1..=ONLINE).collect();
            let note = NOTE.repeat(NOTE_BYTES / NOTE.len());
            let flood = async |share: f64, kind: &str, params: &(dyn Fn(u64) -> Value + Sync)| {
                recorder.note(Seen::Abuse { with: kind.to_owned() });
                self.flood(world, length.mul_f64(share), kind, params).await;
            };
            // The more of them there are, the more the next thing costs; and the last one is the slowest.
            let group = |nth| json!({ "groupName": format!("Group {nth}"), "userIds": [victim] });
            flood(0.4, "newGroup", &group).await;
            flood(0.08, "getOnlineInfo", &|_| json!({ "userIds": users })).await;
            flood(0.1, "sendNotification", &|_| json!({ "userId": victim, "kind": "like" })).await;
            recorder.note(Seen::Abuse { with: "answers that nobody reads".to_owned() });
            self.answers_that_nobody_reads(world, length.mul_f64(0.08)).await;
            recorder.note(Seen::Abuse { with: "logins".to_owned() });
            self.wrong_logins(world, length.mul_f64(0.1)).await;
            flood(0.12, "privateMessage", &|_| json!({ "receiverId": me, "content": note })).await;
            flood(0.12, "searchMessages", &|_| json!({ "query": QUERY, "limit": 100 })).await;
            is_over.store(true, Ordering::Relaxed);
        };
        // What they have asked is answered, or they have waited for too long.
        tokio::join!(abuses, self.bear(world, recorder, &is_over), self.log_in(world, recorder, &is_over));
        self.count(world, recorder).await;
    }

    /// How much the victim has in their lists, and whether they get rid of it.
    async fn count(&self, world: &World, recorder: &Recorder) {
        let Account { id: user, token, .. } = &self.victim;
        let opening = Opening { servers: &world.servers, server: 0, user: *user, token };
        let Ok(mut link) = Link::open(opening, Some(recorder)).await else { return };
        let mut id = 0;
        for (of, kind, filter) in
            [("groups", "listConversations", Some("groups")), ("notifications", "listNotifications", None)]
        {
            let mut number = 0;
            for page in 1..=COUNTS_PAGES {
                id += 1;
                let mut params = json!({ "limit": 100, "page": page });
                if let Some(filter) = filter {
                    params["filter"] = json!(filter);
                }
                let Some(reply) = link.call_as(kind, &params, id, ANSWERS_WITHIN).await else { return };
                let rows = reply["params"]["data"].as_array().map_or(0, Vec::len);
                number += rows;
                if rows < 100 {
                    break;
                }
            }
            recorder.note(Seen::Burden { of: of.to_owned(), number });
        }
        let _ = link.call_as("readNotifications", &json!({}), id + 1, ANSWERS_WITHIN).await;
        link.close().await;
    }

    /// The same kind of request on all sockets of the abuser, as fast as the limits let them, and a ping
    /// behind each.
    async fn flood(&self, world: &World, length: Duration, kind: &str, params: &(dyn Fn(u64) -> Value + Sync)) {
        let until = Instant::now() + length;
        let socket = async |nth: usize| {
            let servers = &world.servers;
            let Account { id: user, token, .. } = &self.abuser;
            let opening = Opening { servers, server: nth % servers.len(), user: *user, token };
            // The server may still have to notice that those of before are gone.
            let mut link = loop {
                match Link::open(opening, None).await {
                    Ok(link) => break link,
                    Err(_) if Instant::now() < until => sleep(AGAIN_AFTER).await,
                    Err(_) => return,
                }
            };
            let mut ticks = interval(ASKS_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            for id in 1.. {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                tokio::select! {
                    _ = ticks.tick() => {
                        let is_sent = timeout(left.min(PATIENCE), link.ask_and_ping(kind, &params(id), id)).await;
                        if is_sent == Ok(false) {
                            return;
                        }
                    }
                    heard = link.hear() => if matches!(heard, Heard::End(..)) { return },
                    () = sleep(left) => break,
                }
            }
            link.close().await;
        };
        join_all((0..SOCKETS).map(socket)).await;
    }

    /// The victim looks, searches and reads, as anybody does.
    async fn bear(&self, world: &World, recorder: &Recorder, is_over: &AtomicBool) {
        let (mut link, mut id, mut cursor) = (None, 0, None::<String>);
        while !is_over.load(Ordering::Relaxed) {
            let Account { id: user, token, .. } = &self.victim;
            if link.is_none() {
                let opening = Opening { servers: &world.servers, server: 0, user: *user, token };
                link = Link::open(opening, Some(recorder)).await.ok();
            }
            let params = cursor.as_ref().map_or_else(|| json!({}), |cursor| json!({ "cursor": cursor, "limit": 100 }));
            let people: Vec<i64> = world.people.iter().map(|person| person.id).collect();
            for (kind, params) in [
                ("searchMessages", json!({ "query": "tea", "limit": 20 })),
                ("listConversations", json!({ "limit": 20 })),
                ("getOnlineInfo", json!({ "userIds": people })),
                ("listNotifications", json!({ "limit": 20 })),
                ("sync", params),
            ] {
                sleep(LOOKS_EVERY).await;
                id += 1;
                let Some(open) = link.as_mut().filter(|_| !is_over.load(Ordering::Relaxed)) else { break };
                match open.call_as(kind, &params, id, ANSWERS_WITHIN).await {
                    Some(reply) if kind == "sync" => {
                        cursor = reply["params"]["item"]["cursor"].as_str().map(str::to_owned).or(cursor.take());
                    }
                    Some(_) => {}
                    None => link = None,
                }
            }
        }
    }

    /// Somebody who knows their password logs in, from somewhere else each time.
    async fn log_in(&self, world: &World, recorder: &Recorder, is_over: &AtomicBool) {
        for nth in 20_000.. {
            sleep(LOOKS_EVERY).await;
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            let Ok(http) = client(nth) else { return };
            let asked = recorder.now();
            let status = match log_in(&http, &world.servers[0], &self.email).await {
                Ok(_) => Some(200),
                Err(NoAccount::Refused(status, _)) => Some(status.as_u16()),
                Err(NoAccount::Unreachable(_)) => None,
            };
            recorder.note(Seen::Login { asked, status });
        }
    }

    /// Wrong passwords, from many addresses.
    async fn wrong_logins(&self, world: &World, length: Duration) {
        let clients: Vec<_> = (0..ADDRESSES).filter_map(|nth| client(30_000 + nth).ok()).collect();
        let url = format!("{}/api/v1/auth/login", world.servers[0]);
        let guess = async |http: &reqwest::Client| {
            let mut ticks = interval(LOGINS_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let who = json!({ "email": self.abuser.email, "password": "a wrong password" });
                let _ = http.post(&url).json(&who).send().await;
            }
        };
        let _ = timeout(length, join_all(clients.iter().map(guess))).await;
    }

    /// Requests for a long document, whose answers stay where they are.
    async fn answers_that_nobody_reads(&self, world: &World, length: Duration) {
        let address = world.servers[0].trim_start_matches("http://");
        let request = format!("GET /api/openapi.json HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(PIPELINED);
        let mut streams = Vec::new();
        for _ in 0..DEAF {
            if let Ok(Ok(mut stream)) = timeout(PATIENCE, TcpStream::connect(address)).await {
                // As much as it takes at once.
                let _ = timeout(Duration::from_millis(5), stream.write_all(request.as_bytes())).await;
                streams.push(stream);
            }
        }
        sleep(length).await;
    }
}
