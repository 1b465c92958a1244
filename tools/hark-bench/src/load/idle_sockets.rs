//! Thousands of sockets that are only held open. Those of a reconnect storm have a thread of their own: ten thousand
//! upgrades at once would delay the thread that measures the latencies of other sockets.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use hark_harness::accounts::Account;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet, LocalSet, spawn_local};

use crate::measure::results::Measurement;
use crate::measure::run::{Meter, ProcessIds, Run};
use crate::sockets::connection::{ConnectError, Connection, Connector, FrameHandler, connect_all};

/// Ignores all frames.
struct IgnoreFrames;

impl FrameHandler for IgnoreFrames {
    fn on_frame(&mut self, _frame: &[u8], _now: u64) {}
}

/// Holds a connection open in a background task. Aborting the task drops the connection.
pub(crate) fn hold_open(connection: Connection, run: &Rc<Run>) -> AbortHandle {
    spawn_local(connection.receive_and_count(Rc::clone(run), IgnoreFrames)).abort_handle()
}

/// The handle of idle sockets on a thread of their own. The thread ends when the handle is dropped.
pub(crate) struct IdleSockets {
    commands: mpsc::UnboundedSender<Command>,
}

enum Command {
    Reconnect(oneshot::Sender<Reconnection>),
    TakeDisconnects(oneshot::Sender<BTreeMap<String, u64>>),
}

/// The course of a reconnect storm.
pub(crate) struct Reconnection {
    /// For each socket, the time from the start of the storm until it was open again.
    pub(crate) latency: Measurement,
    /// The time until the last socket was open again.
    pub(crate) duration: Duration,
    /// The number of sockets that were not opened again, by reason.
    pub(crate) failures: BTreeMap<String, u64>,
}

impl IdleSockets {
    /// Opens a socket for each account.
    ///
    /// # Errors
    /// That of the first account whose connection is not opened.
    pub(crate) async fn open(connector: Connector, accounts: Vec<Account>) -> Result<Self, ConnectError> {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ready, is_ready) = oneshot::channel();
        thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error.into()))),
            };
            LocalSet::new().block_on(&runtime, async move {
                let run = Run::new(ProcessIds::default());
                match connect_all(&connector, &accounts).await {
                    Ok(connections) => {
                        let held = connections.into_iter().map(|connection| hold_open(connection, &run)).collect();
                        let _ = ready.send(Ok(()));
                        IdleThread { connector, accounts, run }.process_commands(receiver, held).await;
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            });
        });
        let thread_ended = |_| Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        is_ready.await.unwrap_or_else(thread_ended).map(|()| Self { commands })
    }

    /// Drops all sockets at the same moment, and opens them again side by side. `None` if the thread has ended.
    pub(crate) async fn reconnect(&self) -> Option<Reconnection> {
        let (sender, reconnection) = oneshot::channel();
        self.commands.send(Command::Reconnect(sender)).ok()?;
        reconnection.await.ok()
    }

    /// Takes the number of connections that ended and were not dropped, by reason.
    pub(crate) async fn take_disconnects(&self) -> BTreeMap<String, u64> {
        let (sender, disconnects) = oneshot::channel();
        let _ = self.commands.send(Command::TakeDisconnects(sender));
        disconnects.await.unwrap_or_default()
    }
}

/// The state of the thread.
struct IdleThread {
    connector: Connector,
    accounts: Vec<Account>,
    run: Rc<Run>,
}

impl IdleThread {
    async fn process_commands(self, mut commands: mpsc::UnboundedReceiver<Command>, mut held: Vec<AbortHandle>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Reconnect(sender) => {
                    held.drain(..).for_each(|socket| socket.abort());
                    let _ = sender.send(self.reconnect().await);
                }
                Command::TakeDisconnects(sender) => drop(sender.send(self.run.disconnects.take())),
            }
        }
    }

    async fn reconnect(&self) -> Reconnection {
        let start = self.run.start_window();
        let (latency, failures) = (Rc::new(Meter::default()), Rc::new(RefCell::default()));
        let mut connecting = JoinSet::new();
        for account in &self.accounts {
            let (connector, token, run) = (self.connector.clone(), account.token.clone(), Rc::clone(&self.run));
            let (latency, failures) = (Rc::clone(&latency), Rc::clone(&failures));
            connecting.spawn_local(async move {
                match connector.connect(&token).await {
                    Ok(connection) => {
                        latency.record(&run, start, run.now());
                        hold_open(connection, &run);
                    }
                    Err(error) => Run::tally(&failures, &format!("reconnect: {error}")),
                }
            });
        }
        while connecting.join_next().await.is_some() {}
        let duration = Duration::from_nanos(self.run.end_window() - start);
        let latency = self.run.measurement(&latency, 0, "reconnect");
        Reconnection { latency, duration, failures: failures.take() }
    }
}
