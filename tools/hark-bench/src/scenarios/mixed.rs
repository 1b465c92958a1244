//! `mixed`: virtual users who send to friends and into groups, look at lists and histories, type and read, in an open
//! loop at a fixed rate.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use tokio::task::{AbortHandle, spawn_local};

use crate::context::Context;
use crate::error::BenchError;
use crate::load::group::create_group;
use crate::load::open_loop::{due_at, schedule};
use crate::load::sender::{MessageStream, Target};
use crate::load::virtual_user::{
    ACTIONS, Contacts, SharedVirtualUser, VirtualUser, VirtualUserSocket, VirtualUserStats,
};
use crate::measure::checker::Violations;
use crate::measure::results::{Results, float};
use crate::measure::run::Meter;
use crate::options::Mixed;
use crate::sockets::connection::connect_all;
use crate::sockets::rpc_client::{RpcClient, RpcError};

/// The number of users to whom a virtual user sends.
const FRIENDS: usize = 5;
/// The number of members of a group. Every virtual user is in one group.
const GROUP_SIZE: usize = 20;
/// A message that has not arrived counts as lost once nothing was received for this long.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the scenario. The friends of a virtual user are the next ones in a circle.
pub(super) async fn run(context: &mut Context, options: &Mixed) -> Result<Results, BenchError> {
    if options.people <= FRIENDS * 2 {
        return Err(BenchError::Message(format!("more than {} people are needed", FRIENDS * 2)));
    }
    let mut results = Results::new("mixed");
    results.add_setting("people", options.people);
    results.add_setting("rate", options.rate);
    let stats =
        Rc::new(VirtualUserStats { latencies: ACTIONS.map(|_| Meter::default()), other_pushes: Meter::default() });
    let has_extras = has_typing(context).await?;
    results.add_setting("typing and receipts", has_extras);
    let users = connect_users(context, options.people, &stats).await?;
    let run = Rc::clone(&context.run);
    for user in &users {
        user.borrow_mut().send_first_messages();
    }
    let is_answered = || users.iter().all(|user| user.borrow().pending() == 0);
    run.wait_until_settled(SETTLE_TIMEOUT, is_answered).await;
    if has_extras {
        for user in &users {
            user.borrow_mut().subscribe();
        }
        run.wait_until_settled(SETTLE_TIMEOUT, is_answered).await;
    }

    let acting = start_actions(&users, options.rate, has_extras, run.now());
    run.wait("mixed: warming up", context.options.warm_up()).await;
    results.cpu = run.measure("mixed", context.options.length()).await;
    acting.abort();
    run.wait_until_settled(SETTLE_TIMEOUT, || is_answered() && violations(&users).lost == 0).await;

    results.violations = Some(violations(&users));
    results.errors = run.errors.take();
    results.disconnects = run.disconnects.take();
    let pending: u64 = users.iter().map(|user| user.borrow().pending()).sum();
    results.add_figure("requests without a reply", float(pending));
    let replies = run.measurement(&run.replies, 0, "reply to any request");
    results.add_cost("request", replies.per_second);
    results.measurements = vec![replies, run.measurement(&run.deliveries, 0, "delivery of a message")];
    for ((action, _), latencies) in ACTIONS.iter().zip(&stats.latencies) {
        results.measurements.push(run.measurement(latencies, 0, action.frame_type()));
    }
    let others = run.measurement(&stats.other_pushes, 0, "other pushes").per_second;
    results.add_figure("other pushes per second", others);
    results.measurements.retain(|measurement| measurement.count > 0);
    Ok(results)
}

/// Whether the server has the frames that not every server of the protocol has.
async fn has_typing(context: &mut Context) -> Result<bool, BenchError> {
    let account = &context.accounts.get(1).await?[0];
    let mut client = RpcClient::new(context.connector.connect(&account.token).await?);
    match client.call("subscribe", &json!({ "events": ["typing"] })).await {
        Ok(_) => Ok(true),
        Err(RpcError::Refused(..)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Opens a socket for each virtual user, in a circle of friends and in groups.
async fn connect_users(
    context: &mut Context,
    count: usize,
    stats: &Rc<VirtualUserStats>,
) -> Result<Vec<SharedVirtualUser>, BenchError> {
    let accounts = context.accounts.get(count).await?;
    let mut groups = Vec::new();
    for members in accounts.chunks(GROUP_SIZE) {
        groups.push(create_group(&context.connector, members).await?);
    }
    let connections = connect_all(&context.connector, accounts).await?;
    let options = context.options.send_options(Some(1.0));
    let id = |nth: usize| accounts[nth % count].id;
    let mut conversations = HashMap::new();
    let mut streams = 0;
    let mut users = Vec::new();
    for (nth, connection) in connections.into_iter().enumerate() {
        let mut stream = |conversation: (i64, i64), target: Target| {
            let known = u32::try_from(conversations.len()).expect("a few for each user");
            let number = *conversations.entry(conversation).or_insert(known);
            streams += 1;
            MessageStream::new(number, streams, target, options)
        };
        let friends: Vec<i64> = (1..=FRIENDS).map(|step| id(nth + step)).collect();
        let writers: Vec<i64> = (1..=FRIENDS).map(|step| id(nth + count - step)).collect();
        let group = groups[nth / GROUP_SIZE];
        let mut own: Vec<MessageStream> =
            friends.iter().map(|friend| stream((id(nth), *friend), Target::User(*friend))).collect();
        // No user has the id 0, so the key of a group is that of no dialog.
        own.push(stream((group, 0), Target::Group(group)));
        let contacts = Contacts { friends, writers, group };
        let user = Rc::new(RefCell::new(VirtualUser::new(&context.run, stats, &connection.writer, own, contacts)));
        spawn_local(connection.receive_and_count(Rc::clone(&context.run), VirtualUserSocket(Rc::clone(&user))));
        users.push(user);
    }
    Ok(users)
}

/// Performs random actions of random users, `rate` per second in all.
fn start_actions(users: &[SharedVirtualUser], rate: f64, has_extras: bool, start: u64) -> AbortHandle {
    let users = users.to_vec();
    let mut due = schedule(rate);
    // A constant seed: every run performs the same actions.
    let mut random = StdRng::seed_from_u64(4);
    let acting = async move {
        while let Some(numbers) = due.recv().await {
            for nth in numbers {
                let action = pick(random.random_range(0..100), has_extras);
                let mut user = users[random.random_range(0..users.len())].borrow_mut();
                let due = Duration::from_nanos(start) + due_at(rate, nth);
                user.perform(action, random.random_range(0..1000), u64::try_from(due.as_nanos()).unwrap_or(u64::MAX));
                user.flush();
            }
        }
    };
    spawn_local(acting).abort_handle()
}

/// The index in [`ACTIONS`] of a percentile from 0 to 99; that of a message where the server lacks the frame.
fn pick(percentile: u64, has_extras: bool) -> usize {
    let mut below = 0;
    let found = ACTIONS.iter().position(|(_, share)| {
        below += share;
        percentile < below
    });
    found.filter(|action| has_extras || ACTIONS[*action].0.is_universal()).unwrap_or(0)
}

/// The violations of all users. Each should receive the messages of its writers, and of the other members of its group.
fn violations(users: &[SharedVirtualUser]) -> Violations {
    let mut all = Violations::default();
    let count = users.len();
    for (nth, user) in users.iter().enumerate() {
        let user = user.borrow();
        let mut lost = 0;
        let mut check =
            |stream: &MessageStream| lost += user.checker.lost(stream.conversation, stream.number, &stream.sent);
        for step in 1..=FRIENDS {
            check(&users[(nth + count - step) % count].borrow().streams[step - 1]);
        }
        let group = nth / GROUP_SIZE * GROUP_SIZE;
        for other in (group..count.min(group + GROUP_SIZE)).filter(|other| *other != nth) {
            let other = users[other].borrow();
            other.streams.last().into_iter().for_each(&mut check);
        }
        all.add(Violations { lost, ..user.checker.violations() });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pick_follows_the_shares() {
        let shares: Vec<u64> = (0..ACTIONS.len())
            .map(|action| (0..100).filter(|percentile| pick(*percentile, true) == action).count() as u64)
            .collect();
        assert_eq!(shares, ACTIONS.map(|(_, share)| share));
        assert!((0..100).all(|percentile| ACTIONS[pick(percentile, false)].0.is_universal()));
    }
}
