//! One device of a person: it connects, talks, loses its socket, and comes back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::choices::{Choice, Draft, Purpose, choose, filler};
use super::link::{Heard, Link, NotOpen, Opening};
use super::world::{Pair, World};
use crate::accounts::{Account, log_in};
use crate::certify::record::{Message, Place};
use crate::certify::recorder::Recorder;

/// Requests that one device has under way at most.
const WINDOW: usize = 8;
/// Mean time between two things that one device does.
const PAUSE: Duration = Duration::from_millis(80);
/// Before what was refused for now is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(300);
/// Before the first try to come back; it doubles with each.
const BACK_AFTER: Duration = Duration::from_millis(50);
const BACK_AFTER_AT_MOST: Duration = Duration::from_secs(2);
/// A ping goes out behind one request of so many.
const PINGS_ONE_OF: u32 = 20;
/// How many messages a device remembers.
const REMEMBERS: usize = 40;

/// What people are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Whatever they like.
    Live,
    /// Repeat what is not confirmed, and end.
    Settle,
}

/// A device.
#[derive(Debug)]
pub(crate) struct Device {
    pub(super) account: Account,
    pub(super) world: Arc<World>,
    pub(super) rng: StdRng,
    /// Confirmed messages of its own, with their names.
    pub(super) mine: Vec<(Place, i64, String)>,
    /// Messages of others, with their `seq`.
    pub(super) heard: Vec<(Place, i64, i64)>,
    /// What was confirmed lately.
    pub(super) confirmed: Vec<Draft>,
    recorder: Recorder,
    number: usize,
    server: usize,
    waiting: HashMap<u64, Purpose>,
    unconfirmed: VecDeque<(Instant, Draft)>,
    next_id: u64,
    next_message: u64,
    cursor: String,
    syncing: bool,
    cuts: watch::Receiver<u64>,
}

/// Why a conversation with the server has ended.
enum End {
    /// Nothing is left to do.
    Settled,
    /// The socket is gone; the server asks to wait this long.
    Gone(Option<Duration>),
    /// It is to be cut.
    Cut,
}

impl Device {
    /// The device `number` of all; its choices come from the seed and that.
    pub(crate) fn new(world: &Arc<World>, recorder: &Recorder, person: usize, number: usize, seed: u64) -> Self {
        let account = world.people[person].clone();
        let cursor = world.cursors(account.id).first().cloned().expect("everybody has a first cursor");
        Self {
            account,
            world: Arc::clone(world),
            rng: StdRng::seed_from_u64(seed ^ (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            mine: Vec::new(),
            heard: Vec::new(),
            confirmed: Vec::new(),
            recorder: recorder.clone(),
            number,
            server: number % world.servers.len(),
            waiting: HashMap::new(),
            unconfirmed: VecDeque::new(),
            next_id: 0,
            next_message: 0,
            cursor,
            syncing: false,
            cuts: world.cuts(),
        }
    }

    /// Lives until it is settled.
    pub(crate) async fn live(mut self, mut stage: watch::Receiver<Stage>) {
        let mut back_after = BACK_AFTER;
        loop {
            let opening = Opening {
                servers: &self.world.servers,
                server: self.server,
                user: self.account.id,
                token: &self.account.token,
            };
            match Link::open(opening, Some(&self.recorder)).await {
                Ok(mut link) => {
                    back_after = BACK_AFTER;
                    let end = self.converse(&mut link, &mut stage).await;
                    self.forget_socket();
                    match end {
                        End::Settled => return link.close().await,
                        End::Cut => self.cut(link).await,
                        End::Gone(asked) => sleep(asked.unwrap_or(BACK_AFTER).min(BACK_AFTER_AT_MOST)).await,
                    }
                    continue;
                }
                Err(NotOpen::Unauthorized) => self.log_in().await,
                Err(NotOpen::Later) => {}
            }
            self.server = (self.server + 1) % self.world.servers.len();
            sleep(back_after.mul_f64(self.rng.random_range(0.5..1.5))).await;
            back_after = (back_after * 2).min(BACK_AFTER_AT_MOST);
        }
    }

    async fn converse(&mut self, link: &mut Link, stage: &mut watch::Receiver<Stage>) -> End {
        let greeting = [Some(("subscribe", json!({ "events": ["all"] }), Purpose::Other)), self.sync()];
        for choice in greeting.into_iter().flatten() {
            if !self.ask(link, choice).await {
                return End::Gone(None);
            }
        }
        let mut next = Instant::now();
        loop {
            let now = *stage.borrow();
            if now == Stage::Settle && self.waiting.is_empty() && self.unconfirmed.is_empty() {
                return End::Settled;
            }
            let may_ask = self.waiting.len() < WINDOW && (now == Stage::Live || !self.unconfirmed.is_empty());
            tokio::select! {
                heard = link.hear() => match heard {
                    Heard::Reply(reply) => {
                        if let Some(choice) = self.take_reply(&reply) && !self.ask(link, choice).await {
                            return End::Gone(None);
                        }
                    }
                    Heard::Push(push) => self.take_push(&push),
                    Heard::End(code, reason) => {
                        // The server says after how many milliseconds to come back.
                        let wait = reason.parse().ok().filter(|_| code == Some(1001)).map(Duration::from_millis);
                        return End::Gone(wait);
                    }
                },
                () = sleep_until(next), if may_ask => {
                    next = Instant::now() + PAUSE.mul_f64(self.rng.random_range(0.0..2.0));
                    let choice = self.repeat().or_else(|| if now == Stage::Live { choose(self) } else { None });
                    if let Some(choice) = choice && !self.ask(link, choice).await {
                        return End::Gone(None);
                    }
                }
                _ = self.cuts.changed(), if now == Stage::Live => if self.rng.random() { return End::Cut },
                changed = stage.changed() => if changed.is_err() { return End::Settled },
            }
        }
    }

    /// A send whose time has come again.
    fn repeat(&mut self) -> Option<Choice> {
        let (due, _) = self.unconfirmed.front()?;
        if *due > Instant::now() {
            return None;
        }
        let (_, draft) = self.unconfirmed.pop_front()?;
        let (kind, params) = draft.request(self.account.id);
        Some((kind, params, Purpose::Send(draft)))
    }

    /// The next page of what was missed, unless one is under way.
    pub(super) fn sync(&mut self) -> Option<Choice> {
        if std::mem::replace(&mut self.syncing, true) {
            return None;
        }
        Some(("sync", json!({ "cursor": self.cursor, "limit": 100 }), Purpose::Sync))
    }

    /// A new message to somewhere.
    pub(super) fn draft(&mut self, place: Place) -> Draft {
        self.next_message += 1;
        // A word of its own, which is the beginning of no other.
        let name = format!("{}x{}x{}z", self.account.id, self.number, self.next_message);
        let content = format!("{name} {}", filler(&mut self.rng));
        Draft { place, name, content }
    }

    async fn ask(&mut self, link: &mut Link, (kind, params, purpose): Choice) -> bool {
        self.next_id += 1;
        self.waiting.insert(self.next_id, purpose);
        if self.rng.random_ratio(1, PINGS_ONE_OF) {
            link.ask_and_ping(kind, &params, self.next_id).await
        } else {
            link.ask(kind, &params, self.next_id).await
        }
    }

    /// Takes a reply, and says what to ask at once.
    fn take_reply(&mut self, reply: &Value) -> Option<Choice> {
        let purpose = self.waiting.remove(&reply["id"].as_u64()?)?;
        let is_done = reply["success"] == true;
        let is_for_now = matches!(reply["code"].as_str(), Some("overloaded" | "internal" | "rate_limited"));
        let item = &reply["params"]["item"];
        match purpose {
            Purpose::Send(draft) if is_done => {
                if let Some(id) = item["messageId"].as_i64() {
                    remember(&mut self.mine, (draft.place, id, draft.name.clone()));
                    remember(&mut self.confirmed, draft);
                }
            }
            Purpose::Send(draft) if is_for_now => self.unconfirmed.push_back((Instant::now() + AGAIN_AFTER, draft)),
            Purpose::Membership { group, user, to, .. } if is_done => self.world.put(group, user, to),
            Purpose::Membership { group, user, .. } if is_for_now => self.world.put(group, user, Pair::Unsure),
            Purpose::Membership { group, user, from, .. } => self.world.put(group, user, from),
            Purpose::Sync => {
                self.syncing = false;
                if let Some(cursor) = item["cursor"].as_str().filter(|_| is_done) {
                    cursor.clone_into(&mut self.cursor);
                    self.world.keep_cursor(self.account.id, cursor);
                    if item["more"] == true {
                        return self.sync();
                    }
                }
            }
            Purpose::Send(_) | Purpose::Other => {}
        }
        None
    }

    fn take_push(&mut self, push: &Value) {
        let item = &push["params"]["item"];
        let is_message = matches!(push["type"].as_str(), Some("privateMessage" | "messageInGroup"));
        if let (true, Some(place), Some(message)) = (is_message, Message::place(item), Message::read(item)) {
            remember(&mut self.heard, (place, message.id, message.seq));
        }
    }

    /// What was not answered on a socket that is gone may have been done or not.
    fn forget_socket(&mut self) {
        self.syncing = false;
        let mut waiting: Vec<_> = self.waiting.drain().collect();
        waiting.sort_unstable_by_key(|(id, _)| *id);
        for (_, purpose) in waiting {
            match purpose {
                Purpose::Send(draft) => self.unconfirmed.push_back((Instant::now(), draft)),
                Purpose::Membership { group, user, .. } => self.world.put(group, user, Pair::Unsure),
                Purpose::Sync | Purpose::Other => {}
            }
        }
    }

    /// Cuts the socket amid a send, which is sent again when it is back.
    async fn cut(&mut self, link: Link) {
        let other = self.world.people[0].id;
        let draft = self.draft(Place::dialog(self.account.id, other));
        let (kind, params) = draft.request(self.account.id);
        link.cut(kind, &params).await;
        self.unconfirmed.push_back((Instant::now(), draft));
    }

    async fn log_in(&mut self) {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        let Ok(http) = http else { return };
        if let Ok(account) = log_in(&http, &self.world.servers[self.server], &self.account.email).await {
            self.account = account;
        }
    }
}

/// The newest few.
fn remember<T>(list: &mut Vec<T>, one: T) {
    if list.len() == REMEMBERS {
        list.remove(0);
    }
    list.push(one);
}
