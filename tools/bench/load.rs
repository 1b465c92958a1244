//! People who send to each other: the load of most scenarios.

use std::rc::Rc;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use super::caller::Caller;
use super::judge::Wrongs;
use super::line::{Door, NotOpened, Open};
use super::pacer::{due_at, pace};
use super::results::{Results, float};
use super::run::Run;
use super::talker::{Manner, Mouth, SharedMouth, Stream, Talker, Target};
use super::{Bench, Failure};
use crate::accounts::Account;

/// Sockets that are opened side by side.
const OPENING_AT_ONCE: usize = 64;
/// So long without anything new, and what has not come is lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long is listened when all is there: what comes then came twice.
const AFTERWARDS: Duration = Duration::from_millis(200);

/// Sockets that are open, and those of them that send.
pub(crate) struct Load {
    run: Rc<Run>,
    mouths: Vec<SharedMouth>,
    /// Each with the mouths that it is to hear.
    listeners: Vec<(Talker, Vec<SharedMouth>)>,
    pacer: Option<AbortHandle>,
}

impl Load {
    /// So many pairs, of which one side sends to the other.
    ///
    /// # Errors
    /// There are no accounts, or no sockets.
    pub(crate) async fn pairs(bench: &mut Bench, pairs: usize, manner: Manner) -> Result<Self, Failure> {
        let people = bench.people.get(2 * pairs).await?;
        let receivers: Vec<i64> = people[pairs..].iter().map(|account| account.id).collect();
        let mut opened = open_all(&bench.door, people).await?;
        let listening = opened.split_off(pairs);
        let mut load = Self::new(&bench.run);
        for ((number, receiver), (speaks, hears)) in (0..).zip(receivers).zip(opened.into_iter().zip(listening)) {
            let stream = Stream::new(number, number, Target::User(receiver), manner);
            let mouth = Mouth::new(stream, &speaks.line);
            load.mouths.push(Rc::clone(&mouth));
            load.listen(speaks, Some(Rc::clone(&mouth)), Vec::new());
            load.listen(hears, None, vec![mouth]);
        }
        Ok(load)
    }

    /// A group of so many members, the first of whom send.
    ///
    /// # Errors
    /// As [`Load::pairs`], or the group cannot be made.
    pub(crate) async fn room(
        bench: &mut Bench,
        members: usize,
        writers: usize,
        manner: Manner,
    ) -> Result<Self, Failure> {
        let people = bench.people.get(members).await?;
        let group = make_group(&bench.door, people).await?;
        let opened = open_all(&bench.door, people).await?;
        let mut load = Self::new(&bench.run);
        let speak =
            |(nth, open): (u32, &Open)| Mouth::new(Stream::new(0, nth, Target::Group(group), manner), &open.line);
        load.mouths = (0..).zip(&opened).take(writers).map(speak).collect();
        let mouths = load.mouths.clone();
        for (nth, open) in opened.into_iter().enumerate() {
            load.listen(open, mouths.get(nth).cloned(), mouths.clone());
        }
        Ok(load)
    }

    fn new(run: &Rc<Run>) -> Self {
        Self { run: Rc::clone(run), mouths: Vec::new(), listeners: Vec::new(), pacer: None }
    }

    fn listen(&mut self, open: Open, mouth: Option<SharedMouth>, heard: Vec<SharedMouth>) {
        let talker = Talker::new(&self.run, mouth);
        spawn_local(open.listen_to_the_end(Rc::clone(&self.run), talker.clone()));
        self.listeners.push((talker, heard));
    }

    /// Begins to send: in a closed loop with so many messages in flight from each sender, or so many a
    /// second in all.
    pub(crate) fn begin(&mut self, window: usize, rate: Option<f64>) {
        if let Some(rate) = rate {
            self.pacer = Some(self.begin_at(rate));
            return;
        }
        for mouth in &self.mouths {
            let mut mouth = mouth.borrow_mut();
            for _ in 0..window {
                mouth.say(self.run.now());
            }
            mouth.flush();
        }
    }

    fn begin_at(&self, rate: f64) -> AbortHandle {
        let (mouths, run) = (self.mouths.clone(), Rc::clone(&self.run));
        let (mut due, begun) = (pace(rate), Duration::from_nanos(run.now()));
        let turns = async move {
            while let Some(some) = due.recv().await {
                for nth in some {
                    let intended = begun + due_at(rate, nth);
                    let mut mouth = mouths[turn(nth, mouths.len())].borrow_mut();
                    mouth.say(u64::try_from(intended.as_nanos()).unwrap_or(u64::MAX));
                    mouth.flush();
                }
            }
        };
        spawn_local(turns).abort_handle()
    }

    /// Stops sending, waits for what is under way, and judges. Takes down what all scenarios have in common.
    pub(crate) async fn finish(&mut self, results: &mut Results) {
        self.run.goes_on.set(false);
        if let Some(pacer) = self.pacer.take() {
            pacer.abort();
        }
        let answered = || self.mouths.iter().all(|mouth| mouth.borrow().waiting() == 0);
        self.run.settle(PATIENCE, || answered() && self.wrongs().lost == 0).await;
        sleep(AFTERWARDS).await;
        results.wrongs = Some(self.wrongs());
        results.refused = self.run.refused.take();
        results.ended = self.run.ended.take();
        for (name, count) in [
            ("messages acknowledged", self.mouths.iter().map(|mouth| mouth.borrow().stream.sent.acknowledged()).sum()),
            ("messages without an answer", self.mouths.iter().map(|mouth| mouth.borrow().waiting()).sum()),
            ("replies out of order", self.run.replies_out_of_order.get()),
        ] {
            results.figure(name, float(count));
        }
    }

    fn wrongs(&self) -> Wrongs {
        let mut all = Wrongs::default();
        for (talker, heard) in &self.listeners {
            all.add(talker.wrongs(heard));
        }
        all
    }
}

/// Whose turn it is.
fn turn(nth: u64, among: usize) -> usize {
    usize::try_from(nth % among as u64).expect("less than a usize")
}

/// Opens a socket for each, in their order.
///
/// # Errors
/// The first that is not opened.
pub(crate) async fn open_all<'a>(
    door: &Door,
    accounts: impl IntoIterator<Item = &'a Account>,
) -> Result<Vec<Open>, NotOpened> {
    let opening = accounts.into_iter().map(|account| door.open(&account.token));
    let opened: Vec<_> = futures_util::stream::iter(opening).buffered(OPENING_AT_ONCE).collect().await;
    opened.into_iter().collect()
}

/// A group of all of them, made by the first.
pub(crate) async fn make_group(door: &Door, members: &[Account]) -> Result<i64, Failure> {
    let mut admin = Caller::new(door.open(&members[0].token).await?);
    let made = admin.ask("newGroup", &json!({ "groupName": "Load" })).await?;
    let made: serde_json::Value = serde_json::from_slice(&made)?;
    let group = made["params"]["item"]["groupId"].as_i64().ok_or(Failure::NoGroup)?;
    let additions: Vec<_> =
        members[1..].iter().map(|member| json!({ "groupId": group, "userId": member.id })).collect();
    admin.ask_all("addUserInGroup", &additions).await?;
    Ok(group)
}
