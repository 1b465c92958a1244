//! `idle`: what an idle socket costs the server.

use std::time::Instant;

use crate::context::Context;
use crate::error::BenchError;
use crate::load::idle_sockets::hold_open;
use crate::measure::results::{Results, float};
use crate::options::Idle;
use crate::sockets::connection::connect_all;

/// Opens sockets and holds them open.
pub(super) async fn run(context: &mut Context, options: &Idle) -> Result<Results, BenchError> {
    let mut results = Results::new("idle");
    results.add_setting("sockets", options.sockets);
    results.add_setting("sockets per user", options.a_user);
    let accounts = context.accounts.get(options.sockets.div_ceil(options.a_user)).await?;
    let before = context.processes.server_memory();
    let start = Instant::now();
    let accounts = accounts.iter().cycle().take(options.sockets);
    let connections = connect_all(&context.connector, accounts).await?;
    results.add_figure("sockets opened per second", float(options.sockets as u64) / start.elapsed().as_secs_f64());
    for connection in connections {
        hold_open(connection, &context.run);
    }
    context.run.wait("idle: warming up", context.options.warm_up()).await;
    results.cpu = context.run.measure("idle", context.options.length()).await;
    results.disconnects = context.run.disconnects.take();
    if let (Some(before), Some(after)) = (before, context.processes.server_memory()) {
        let kib = (float(after) - float(before)) / 1024.0;
        results.add_figure("server KiB before", float(before) / 1024.0);
        results.add_figure("server KiB per socket", kib / float(options.sockets as u64));
    }
    Ok(results)
}
