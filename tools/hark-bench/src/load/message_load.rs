//! Senders and receivers of marked messages: the load of most scenarios.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use crate::context::Context;
use crate::error::BenchError;
use crate::load::group::create_group;
use crate::load::open_loop::{due_at, schedule};
use crate::load::sender::{MessageStream, Receiver, Sender, SharedSender, Target};
use crate::measure::checker::Violations;
use crate::measure::results::{Results, float};
use crate::measure::run::Run;
use crate::options::SendOptions;
use crate::sockets::connection::{Connection, connect_all};

/// A message that has not arrived counts as lost once nothing was received for this long.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the receivers go on after the last message, to see duplicates of it.
const DUPLICATE_WAIT: Duration = Duration::from_millis(200);

/// Open sockets, some of which send.
pub(crate) struct MessageLoad {
    run: Rc<Run>,
    senders: Vec<SharedSender>,
    /// Each receiver with the senders whose messages it should receive.
    receivers: Vec<(Receiver, Vec<SharedSender>)>,
    /// The task of an open loop.
    open_loop: Option<AbortHandle>,
}

impl MessageLoad {
    /// Pairs of users, in each of which one user sends to the other.
    ///
    /// # Errors
    /// Accounts or connections are missing.
    pub(crate) async fn pairs(context: &mut Context, pairs: usize, options: SendOptions) -> Result<Self, BenchError> {
        let accounts = context.accounts.get(2 * pairs).await?;
        let receiver_ids: Vec<i64> = accounts[pairs..].iter().map(|account| account.id).collect();
        let mut sending = connect_all(&context.connector, accounts).await?;
        let receiving = sending.split_off(pairs);
        let mut load = Self::new(&context.run);
        let sockets = sending.into_iter().zip(receiving);
        for ((number, receiver), (sending, receiving)) in (0..).zip(receiver_ids).zip(sockets) {
            let stream = MessageStream::new(number, number, Target::User(receiver), options);
            let sender = Sender::new(stream, &sending.writer);
            load.senders.push(Rc::clone(&sender));
            load.receive(sending, Some(Rc::clone(&sender)), Vec::new());
            load.receive(receiving, None, vec![sender]);
        }
        Ok(load)
    }

    /// A group of `members` users, the first `senders` of whom send.
    ///
    /// # Errors
    /// As [`MessageLoad::pairs`], or the group cannot be created.
    pub(crate) async fn group(
        context: &mut Context,
        members: usize,
        senders: usize,
        options: SendOptions,
    ) -> Result<Self, BenchError> {
        let accounts = context.accounts.get(members).await?;
        let group = create_group(&context.connector, accounts).await?;
        let connections = connect_all(&context.connector, accounts).await?;
        let mut load = Self::new(&context.run);
        let sender = |(number, connection): (u32, &Connection)| {
            Sender::new(MessageStream::new(0, number, Target::Group(group), options), &connection.writer)
        };
        load.senders = (0..).zip(&connections).take(senders).map(sender).collect();
        let senders = load.senders.clone();
        for (nth, connection) in connections.into_iter().enumerate() {
            load.receive(connection, senders.get(nth).cloned(), senders.clone());
        }
        Ok(load)
    }

    fn new(run: &Rc<Run>) -> Self {
        Self { run: Rc::clone(run), senders: Vec::new(), receivers: Vec::new(), open_loop: None }
    }

    fn receive(&mut self, connection: Connection, own: Option<SharedSender>, expected: Vec<SharedSender>) {
        let receiver = Receiver::new(&self.run, own);
        spawn_local(connection.receive_and_count(Rc::clone(&self.run), receiver.clone()));
        self.receivers.push((receiver, expected));
    }

    /// Starts to send: in an open loop with `rate` messages per second in all, or else in a closed loop with `window`
    /// messages in flight for each sender.
    pub(crate) fn start(&mut self, window: usize, rate: Option<f64>) {
        if let Some(rate) = rate {
            self.open_loop = Some(self.start_open_loop(rate));
            return;
        }
        for sender in &self.senders {
            let mut sender = sender.borrow_mut();
            for _ in 0..window {
                sender.send(self.run.now());
            }
            sender.flush();
        }
    }

    fn start_open_loop(&self, rate: f64) -> AbortHandle {
        let (senders, run) = (self.senders.clone(), Rc::clone(&self.run));
        let (mut due, start) = (schedule(rate), Duration::from_nanos(run.now()));
        let sending = async move {
            while let Some(numbers) = due.recv().await {
                for nth in numbers {
                    let due = start + due_at(rate, nth);
                    let mut sender = senders[round_robin(nth, senders.len())].borrow_mut();
                    sender.send(u64::try_from(due.as_nanos()).unwrap_or(u64::MAX));
                    sender.flush();
                }
            }
        };
        spawn_local(sending).abort_handle()
    }

    /// Stops sending, waits for messages in flight, and adds to the results what all scenarios have in common:
    /// violations, errors, disconnects and counts.
    pub(crate) async fn finish(&mut self, results: &mut Results) {
        self.run.is_sending.set(false);
        if let Some(open_loop) = self.open_loop.take() {
            open_loop.abort();
        }
        let is_answered = || self.senders.iter().all(|sender| sender.borrow().pending() == 0);
        self.run.wait_until_settled(SETTLE_TIMEOUT, || is_answered() && self.violations().lost == 0).await;
        sleep(DUPLICATE_WAIT).await;
        results.violations = Some(self.violations());
        results.errors = self.run.errors.take();
        results.disconnects = self.run.disconnects.take();
        for (name, count) in [
            (
                "messages acknowledged",
                self.senders.iter().map(|sender| sender.borrow().stream.sent.acknowledged()).sum(),
            ),
            ("messages without a reply", self.senders.iter().map(|sender| sender.borrow().pending()).sum()),
            ("replies out of order", self.run.replies_out_of_order.get()),
        ] {
            results.add_figure(name, float(count));
        }
    }

    fn violations(&self) -> Violations {
        let mut all = Violations::default();
        for (receiver, expected) in &self.receivers {
            all.add(receiver.violations(expected));
        }
        all
    }
}

/// The index of the sender of the `nth` message.
fn round_robin(nth: u64, senders: usize) -> usize {
    usize::try_from(nth % senders as u64).expect("less than a usize")
}
