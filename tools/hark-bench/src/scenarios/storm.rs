//! `storm`: a reconnect storm. All sockets are dropped at the same moment and reconnect at once, as after a restart of a
//! proxy, while other users go on sending.

use std::rc::Rc;
use std::time::Duration;

use crate::context::Context;
use crate::error::BenchError;
use crate::load::idle_sockets::IdleSockets;
use crate::load::message_load::MessageLoad;
use crate::measure::results::{Results, float};
use crate::options::Storm;

/// How long the reconnected sockets are watched: the server may close none of them.
const WATCH_DURATION: Duration = Duration::from_secs(3);

/// Opens idle sockets, drops them, and reconnects them.
pub(super) async fn run(context: &mut Context, options: &Storm) -> Result<Results, BenchError> {
    let mut results = Results::new("storm");
    results.add_setting("sockets", options.sockets);
    results.add_setting("sockets per user", options.a_user);
    results.add_setting("senders", options.senders);
    results.add_setting("rate", options.rate);
    let pairs = 2 * options.senders;
    let accounts = context.accounts.get(pairs + options.sockets.div_ceil(options.a_user)).await?;
    let accounts = accounts[pairs..].iter().cycle().take(options.sockets).cloned().collect();
    let sockets = IdleSockets::open(context.connector.clone(), accounts).await?;
    let mut load =
        MessageLoad::pairs(context, options.senders, context.options.send_options(Some(options.rate))).await?;
    load.start(0, Some(options.rate));
    let run = Rc::clone(&context.run);
    run.wait("storm: warming up", context.options.warm_up()).await;
    results.cpu = run.measure("storm: before", context.options.length()).await;

    run.start_window();
    let thread_ended = || BenchError::Message("the thread of the idle sockets has ended".to_owned());
    let reconnection = sockets.reconnect().await.ok_or_else(thread_ended)?;
    run.end_window();
    run.wait("storm: reconnected", WATCH_DURATION).await;

    load.finish(&mut results).await;
    results.add_figure("seconds until all reconnected", reconnection.duration.as_secs_f64());
    results.add_figure("failed reconnects", float(reconnection.failures.values().sum()));
    results.disconnects.extend(reconnection.failures);
    results.disconnects.extend(sockets.take_disconnects().await);
    let before = run.measurement(&run.replies, 0, "reply, before");
    let during = run.measurement(&run.replies, 1, "reply, during");
    results.add_figure("p99 during / p99 before", during.p99 / before.p99);
    results.measurements = vec![
        before,
        during,
        run.measurement(&run.deliveries, 0, "delivery, before"),
        run.measurement(&run.deliveries, 1, "delivery, during"),
        reconnection.latency,
    ];
    Ok(results)
}
