//! The scenarios: one file for each kind of load.

mod idle;
mod logins;
mod messages;
mod mixed;
mod pages;
mod storm;

use crate::context::Context;
use crate::error::BenchError;
use crate::measure::results::Results;
use crate::options::Scenario;

/// Runs a scenario.
///
/// # Errors
/// [`BenchError`]: the scenario could not be run. Errors of the server during the measurement are part of the results.
pub(crate) async fn run(context: &mut Context, scenario: &Scenario) -> Result<Results, BenchError> {
    let mut results = match scenario {
        Scenario::Private(options) => messages::private(context, options).await?,
        Scenario::Group(options) => messages::group(context, options).await?,
        Scenario::Mixed(options) => mixed::run(context, options).await?,
        Scenario::Pages(options) => pages::run(context, options).await?,
        Scenario::Idle(options) => idle::run(context, options).await?,
        Scenario::Storm(options) => storm::run(context, options).await?,
        Scenario::Logins(options) => logins::run(context, options).await?,
        Scenario::People(options) => {
            let mut results = Results::new("people");
            results.add_setting("count", context.accounts.get(options.count).await?.len());
            results
        }
    };
    if !results.measurements.is_empty() {
        results.add_setting("seconds", context.options.seconds);
    }
    Ok(results)
}
