//! What can be done to a server, a file each.

mod idle;
mod messages;

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
        Scenario::Idle(options) => idle::run(bench, options).await?,
    };
    results.setting("seconds", bench.options.seconds);
    Ok(results)
}
