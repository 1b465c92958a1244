//! Very many sockets that do nothing but come and go. They have a thread of their own: ten thousand at
//! the door at once would hold up the thread that measures how long others wait for their replies.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, LocalSet, spawn_local};

use super::line::{Door, NotOpened, Open, Talk};
use super::load::open_all;
use super::results::Measurement;
use super::run::{Meter, Processes, Run};
use crate::accounts::Account;

/// Hears, and has nothing to say.
pub(crate) struct Nobody;

impl Talk for Nobody {
    fn hear(&mut self, _frame: &[u8], _now: u64) {}
}

/// Opens a socket in the background and holds it.
pub(crate) fn hold(open: Open, run: &Rc<Run>) -> AbortHandle {
    spawn_local(open.listen_to_the_end(Rc::clone(run), Nobody)).abort_handle()
}

/// Sockets on a thread of their own.
pub(crate) struct Crowd {
    orders: mpsc::UnboundedSender<Order>,
}

enum Order {
    ComeBack(oneshot::Sender<Return>),
    Count(oneshot::Sender<BTreeMap<String, u64>>),
}

/// How a crowd has come back.
pub(crate) struct Return {
    /// From the moment at which all began, for each socket.
    pub(crate) took: Measurement,
    /// Until the last one was back.
    pub(crate) all_after: Duration,
    /// Why sockets are not back, and how many.
    pub(crate) failures: BTreeMap<String, u64>,
}

impl Crowd {
    /// Opens a socket for each.
    ///
    /// # Errors
    /// The first that is not opened.
    pub(crate) async fn gather(door: Door, accounts: Vec<Account>) -> Result<Self, NotOpened> {
        let (orders, coming) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.into()))),
            };
            LocalSet::new().block_on(&runtime, async move {
                let run = Run::new(Processes::default());
                match open_all(&door, &accounts).await {
                    Ok(opened) => {
                        let held = opened.into_iter().map(|open| hold(open, &run)).collect();
                        let _ = ready.send(Ok(()));
                        obey(coming, &Room { door, accounts, run }, held).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        });
        let gone = |_| Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        is_ready.await.unwrap_or_else(gone).map(|()| Self { orders })
    }

    /// Drops all sockets at once and opens them again, all at once.
    pub(crate) async fn come_back(&self) -> Option<Return> {
        let (answer, returned) = oneshot::channel();
        self.orders.send(Order::ComeBack(answer)).ok()?;
        returned.await.ok()
    }

    /// How sockets have ended that were not dropped, and how many.
    pub(crate) async fn ended(&self) -> BTreeMap<String, u64> {
        let (answer, counted) = oneshot::channel();
        let _ = self.orders.send(Order::Count(answer));
        counted.await.unwrap_or_default()
    }
}

/// What the crowd's thread knows.
struct Room {
    door: Door,
    accounts: Vec<Account>,
    run: Rc<Run>,
}

async fn obey(mut orders: mpsc::UnboundedReceiver<Order>, room: &Room, mut held: Vec<AbortHandle>) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::ComeBack(answer) => {
                held.drain(..).for_each(|socket| socket.abort());
                let _ = answer.send(room.come_back().await);
            }
            Order::Count(answer) => drop(answer.send(room.run.ended.take())),
        }
    }
}

impl Room {
    async fn come_back(&self) -> Return {
        let begun = self.run.open_window();
        let (took, failures) = (Rc::new(Meter::default()), Rc::new(RefCell::default()));
        let mut coming = JoinSet::new();
        for account in &self.accounts {
            let (door, token, run) = (self.door.clone(), account.token.clone(), Rc::clone(&self.run));
            let (took, failures) = (Rc::clone(&took), Rc::clone(&failures));
            coming.spawn_local(async move {
                match door.open(&token).await {
                    Ok(open) => {
                        took.record(&run, begun, run.now());
                        hold(open, &run);
                    }
                    Err(error) => Run::count(&failures, &format!("reconnect: {error}")),
                }
            });
        }
        while coming.join_next().await.is_some() {}
        let all_after = Duration::from_nanos(self.run.close_window() - begun);
        Return { took: self.run.measurement(&took, 0, "reconnect"), all_after, failures: failures.take() }
    }
}
