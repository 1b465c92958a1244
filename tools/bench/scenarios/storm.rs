//! `storm`: everybody is cut off at the same moment and comes back at once, as after a restart of a
//! proxy, while others go on sending.

use std::rc::Rc;
use std::time::Duration;

use super::super::crowd::Crowd;
use super::super::load::Load;
use super::super::options::Storm;
use super::super::results::{Results, float};
use super::super::{Bench, Failure};

/// How long those who are back are watched: none may be closed after all.
const WATCHED: Duration = Duration::from_secs(3);

/// Connects many, drops them, and lets them come back.
pub(super) async fn run(bench: &mut Bench, asked: &Storm) -> Result<Results, Failure> {
    let mut results = Results::of("storm");
    results.setting("sockets", asked.sockets);
    results.setting("sockets a user", asked.a_user);
    results.setting("senders", asked.senders);
    results.setting("rate", asked.rate);
    let others = 2 * asked.senders;
    let people = bench.people.get(others + asked.sockets.div_ceil(asked.a_user)).await?;
    let everybody = people[others..].iter().cycle().take(asked.sockets).cloned().collect();
    let crowd = Crowd::gather(bench.door.clone(), everybody).await?;
    let mut load = Load::pairs(bench, asked.senders, bench.options.manner(Some(asked.rate))).await?;
    load.begin(0, Some(asked.rate));
    let run = Rc::clone(&bench.run);
    run.wait("storm: warming up", bench.options.warm_up()).await;
    results.processor = run.measure("storm: before", bench.options.length()).await;

    run.open_window();
    let returned = crowd.come_back().await.ok_or_else(|| Failure::Asked("the crowd's thread has ended".to_owned()))?;
    run.close_window();
    run.wait("storm: all are back", WATCHED).await;

    load.finish(&mut results).await;
    results.figure("seconds until all were back", returned.all_after.as_secs_f64());
    results.figure("reconnects that failed", float(returned.failures.values().sum()));
    results.ended.extend(returned.failures);
    results.ended.extend(crowd.ended().await);
    let normal = run.measurement(&run.replies, 0, "reply, before");
    let meanwhile = run.measurement(&run.replies, 1, "reply, meanwhile");
    results.figure("p99 meanwhile / p99 before", meanwhile.p99 / normal.p99);
    results.measurements = vec![
        normal,
        meanwhile,
        run.measurement(&run.deliveries, 0, "delivery, before"),
        run.measurement(&run.deliveries, 1, "delivery, meanwhile"),
        returned.took,
    ];
    Ok(results)
}
