//! `private` and `group`: only messages.

use crate::context::Context;
use crate::error::BenchError;
use crate::load::message_load::MessageLoad;
use crate::measure::results::Results;
use crate::options::{Group, Private};

/// Pairs of users, in each of which one user sends to the other.
pub(super) async fn private(context: &mut Context, options: &Private) -> Result<Results, BenchError> {
    let mut results = Results::new("private");
    results.add_setting("senders", options.senders);
    let load = MessageLoad::pairs(context, options.senders, context.options.send_options(options.rate)).await?;
    send(context, load, results, options.window, options.rate).await
}

/// One group with a few senders and many readers.
pub(super) async fn group(context: &mut Context, options: &Group) -> Result<Results, BenchError> {
    if options.writers > options.members {
        return Err(BenchError::Message(format!("a group of {} has no {} writers", options.members, options.writers)));
    }
    let mut results = Results::new("group");
    results.add_setting("members", options.members);
    results.add_setting("writers", options.writers);
    let load =
        MessageLoad::group(context, options.members, options.writers, context.options.send_options(options.rate))
            .await?;
    send(context, load, results, options.window, options.rate).await
}

async fn send(
    context: &Context,
    mut load: MessageLoad,
    mut results: Results,
    window: usize,
    rate: Option<f64>,
) -> Result<Results, BenchError> {
    match rate {
        Some(rate) => results.add_setting("rate", rate),
        None => results.add_setting("window", window),
    }
    results.add_setting("bytes", context.options.bytes);
    let (run, scenario) = (&context.run, results.scenario.clone());
    load.start(window, rate);
    run.wait(&format!("{scenario}: warming up"), context.options.warm_up()).await;
    results.cpu = run.measure(&scenario, context.options.length()).await;
    load.finish(&mut results).await;
    let replies = run.measurement(&run.replies, 0, "reply");
    let deliveries = run.measurement(&run.deliveries, 0, "delivery");
    results.add_cost("message", replies.per_second);
    results.add_cost("delivery", deliveries.per_second);
    results.measurements = vec![replies, deliveries];
    Ok(results)
}
