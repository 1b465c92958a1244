//! What can be done to a server, a file each.

mod idle;
mod logins;
mod messages;
mod mixed;
mod pages;
mod storm;

use super::options::Scenario;
use super::results::Results;
use super::{Bench, Failure};

/// Runs a scenario.
///
/// # Errors
/// It could not be run. What goes wrong while it runs is in its results.
pub(crate) async fn run(bench: &mut Bench, scenario: &Scenario) -> Result<Results, Failure> {
    let mut results = match scenario {
        Scenario::Private(options) => messages::private(bench, options).await?,
        Scenario::Group(options) => messages::group(bench, options).await?,
        Scenario::Mixed(options) => mixed::run(bench, options).await?,
        Scenario::Pages(options) => pages::run(bench, options).await?,
        Scenario::Idle(options) => idle::run(bench, options).await?,
        Scenario::Storm(options) => storm::run(bench, options).await?,
        Scenario::Logins(options) => logins::run(bench, options).await?,
        Scenario::People(options) => {
            let mut results = Results::of("people");
            results.setting("count", bench.people.get(options.count).await?.len());
            results
        }
    };
    if !results.measurements.is_empty() {
        results.setting("seconds", bench.options.seconds);
    }
    Ok(results)
}
