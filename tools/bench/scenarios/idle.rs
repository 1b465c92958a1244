//! `idle`: what a socket costs that nobody uses.

use std::time::Instant;

use super::super::crowd::hold;
use super::super::load::open_all;
use super::super::options::Idle;
use super::super::results::{Results, float};
use super::super::{Bench, Failure};

/// Opens sockets and holds them.
pub(super) async fn run(bench: &mut Bench, asked: &Idle) -> Result<Results, Failure> {
    let mut results = Results::of("idle");
    results.setting("sockets", asked.sockets);
    results.setting("sockets a user", asked.a_user);
    let people = bench.people.get(asked.sockets.div_ceil(asked.a_user)).await?;
    let before = bench.processes.server_memory();
    let begun = Instant::now();
    let everybody = people.iter().cycle().take(asked.sockets);
    let opened = open_all(&bench.door, everybody).await?;
    results.figure("sockets opened a second", float(asked.sockets as u64) / begun.elapsed().as_secs_f64());
    for open in opened {
        hold(open, &bench.run);
    }
    bench.run.wait("idle: warming up", bench.options.warm_up()).await;
    results.processor = bench.run.measure("idle", bench.options.length()).await;
    results.ended = bench.run.ended.take();
    if let (Some(before), Some(after)) = (before, bench.processes.server_memory()) {
        let kib = (float(after) - float(before)) / 1024.0;
        results.figure("server KiB before", float(before) / 1024.0);
        results.figure("server KiB a socket", kib / float(asked.sockets as u64));
    }
    Ok(results)
}
