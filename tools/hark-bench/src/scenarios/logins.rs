//! `logins`: the latency of sends while other users log in. A login costs the server 25 ms of CPU time.

use std::rc::Rc;
use std::time::Duration;

use hark_harness::accounts::log_in;
use tokio::task::spawn_local;

use crate::context::Context;
use crate::error::BenchError;
use crate::load::message_load::MessageLoad;
use crate::load::open_loop::{due_at, schedule};
use crate::measure::results::Results;
use crate::measure::run::{Meter, Run};
use crate::options::Logins;

/// Sends at a fixed rate, first alone and then while other users log in.
pub(super) async fn run(context: &mut Context, options: &Logins) -> Result<Results, BenchError> {
    let mut results = Results::new("logins");
    results.add_setting("senders", options.senders);
    results.add_setting("rate", options.rate);
    results.add_setting("logins per second", options.logins);
    let mut load =
        MessageLoad::pairs(context, options.senders, context.options.send_options(Some(options.rate))).await?;
    load.start(0, Some(options.rate));
    let run = Rc::clone(&context.run);
    run.wait("logins: warming up", context.options.warm_up()).await;
    run.measure("logins: before", context.options.length()).await;

    let logins = Rc::new(Meter::default());
    let emails: Vec<String> =
        context.accounts.get(2 * options.senders).await?.iter().map(|account| account.email.clone()).collect();
    let users = Users { server: context.url.clone(), emails };
    let logging_in = spawn_local(users.log_in(options.logins, Rc::clone(&run), Rc::clone(&logins)));
    // The queue of logins fills up first.
    run.wait("logins: starting", Duration::from_secs(1)).await;
    results.cpu = run.measure("logins: during", context.options.length()).await;
    logging_in.abort();

    load.finish(&mut results).await;
    let before = run.measurement(&run.replies, 0, "reply, before");
    let during = run.measurement(&run.replies, 1, "reply, during");
    results.add_figure("p99 during / p99 before", during.p99 / before.p99);
    results.measurements = vec![
        before,
        during,
        run.measurement(&run.deliveries, 0, "delivery, before"),
        run.measurement(&run.deliveries, 1, "delivery, during"),
        run.measurement(&logins, 1, "login"),
    ];
    Ok(results)
}

struct Users {
    server: String,
    emails: Vec<String>,
}

impl Users {
    /// Logs in the users in turn, in an open loop.
    async fn log_in(self, rate: f64, run: Rc<Run>, latency: Rc<Meter>) {
        let client = reqwest::Client::new();
        let (start, mut due) = (Duration::from_nanos(run.now()), schedule(rate));
        let mut emails = self.emails.into_iter().cycle();
        while let Some(numbers) = due.recv().await {
            for (nth, email) in numbers.zip(&mut emails) {
                let due = u64::try_from((start + due_at(rate, nth)).as_nanos()).unwrap_or(u64::MAX);
                let (client, server) = (client.clone(), self.server.clone());
                let (run, latency) = (Rc::clone(&run), Rc::clone(&latency));
                spawn_local(async move {
                    match log_in(&client, &server, &email).await {
                        Ok(_) => latency.record(&run, due, run.now()),
                        Err(error) => Run::tally(&run.errors, &format!("login: {error}")),
                    }
                });
            }
        }
    }
}
