//! `private` and `group`: nothing but messages.

use super::super::load::Load;
use super::super::options::{Group, Private};
use super::super::results::Results;
use super::super::{Bench, Failure};

/// Pairs of people, of whom one sends to the other.
pub(super) async fn private(bench: &mut Bench, asked: &Private) -> Result<Results, Failure> {
    let mut results = Results::of("private");
    results.setting("senders", asked.senders);
    let load = Load::pairs(bench, asked.senders, bench.options.manner(asked.rate)).await?;
    send(bench, load, results, asked.window, asked.rate).await
}

/// One group, few who write and many who read.
pub(super) async fn group(bench: &mut Bench, asked: &Group) -> Result<Results, Failure> {
    if asked.writers > asked.members {
        return Err(Failure::Asked(format!("a group of {} has no {} writers", asked.members, asked.writers)));
    }
    let mut results = Results::of("group");
    results.setting("members", asked.members);
    results.setting("writers", asked.writers);
    let load = Load::room(bench, asked.members, asked.writers, bench.options.manner(asked.rate)).await?;
    send(bench, load, results, asked.window, asked.rate).await
}

async fn send(
    bench: &Bench,
    mut load: Load,
    mut results: Results,
    window: usize,
    rate: Option<f64>,
) -> Result<Results, Failure> {
    match rate {
        Some(rate) => results.setting("rate", rate),
        None => results.setting("window", window),
    }
    results.setting("bytes", bench.options.bytes);
    let (run, what) = (&bench.run, results.scenario.clone());
    load.begin(window, rate);
    run.wait(&format!("{what}: warming up"), bench.options.warm_up()).await;
    results.processor = run.measure(&what, bench.options.length()).await;
    load.finish(&mut results).await;
    let replies = run.measurement(&run.replies, 0, "reply");
    let deliveries = run.measurement(&run.deliveries, 0, "delivery");
    results.costs("message", replies.per_second);
    results.costs("delivery", deliveries.per_second);
    results.measurements = vec![replies, deliveries];
    Ok(results)
}
