//! `logins`: what those who send notice of others who log in, which costs a server 25 ms of processor
//! each.

use std::rc::Rc;
use std::time::Duration;

use tokio::task::spawn_local;

use super::super::load::Load;
use super::super::options::Logins;
use super::super::pacer::{due_at, pace};
use super::super::results::Results;
use super::super::run::{Meter, Run};
use super::super::{Bench, Failure};
use crate::accounts::log_in;

/// Sends at a steady rate, first alone and then while others log in.
pub(super) async fn run(bench: &mut Bench, asked: &Logins) -> Result<Results, Failure> {
    let mut results = Results::of("logins");
    results.setting("senders", asked.senders);
    results.setting("rate", asked.rate);
    results.setting("logins a second", asked.logins);
    let mut load = Load::pairs(bench, asked.senders, bench.options.manner(Some(asked.rate))).await?;
    load.begin(0, Some(asked.rate));
    let run = Rc::clone(&bench.run);
    run.wait("logins: warming up", bench.options.warm_up()).await;
    run.measure("logins: before", bench.options.length()).await;

    let logins = Rc::new(Meter::default());
    let emails: Vec<String> = bench.people.get(2 * asked.senders).await?.iter().map(|who| who.email.clone()).collect();
    let everybody = Everybody { server: bench.url.clone(), emails };
    let logging_in = spawn_local(everybody.log_in(asked.logins, Rc::clone(&run), Rc::clone(&logins)));
    // They pile up first.
    run.wait("logins: beginning", Duration::from_secs(1)).await;
    results.processor = run.measure("logins: meanwhile", bench.options.length()).await;
    logging_in.abort();

    load.finish(&mut results).await;
    let normal = run.measurement(&run.replies, 0, "reply, before");
    let meanwhile = run.measurement(&run.replies, 1, "reply, meanwhile");
    results.figure("p99 meanwhile / p99 before", meanwhile.p99 / normal.p99);
    results.measurements = vec![
        normal,
        meanwhile,
        run.measurement(&run.deliveries, 0, "delivery, before"),
        run.measurement(&run.deliveries, 1, "delivery, meanwhile"),
        run.measurement(&logins, 1, "login"),
    ];
    Ok(results)
}

struct Everybody {
    server: String,
    emails: Vec<String>,
}

impl Everybody {
    /// One after the other at this rate, whether those before are in or not.
    async fn log_in(self, rate: f64, run: Rc<Run>, took: Rc<Meter>) {
        let client = reqwest::Client::new();
        let (begun, mut due) = (Duration::from_nanos(run.now()), pace(rate));
        let mut emails = self.emails.into_iter().cycle();
        while let Some(some) = due.recv().await {
            for (nth, email) in some.zip(&mut emails) {
                let intended = u64::try_from((begun + due_at(rate, nth)).as_nanos()).unwrap_or(u64::MAX);
                let (client, server) = (client.clone(), self.server.clone());
                let (run, took) = (Rc::clone(&run), Rc::clone(&took));
                spawn_local(async move {
                    match log_in(&client, &server, &email).await {
                        Ok(_) => took.record(&run, intended, run.now()),
                        Err(error) => Run::count(&run.refused, &format!("login: {error}")),
                    }
                });
            }
        }
    }
}
