//! Completion of changes: a client may disconnect while its request is served, and the handler is dropped then.
//! A change that was stored must be announced to the other users even so.

use actix_web::web::Data;

use super::error::HttpError;
use crate::app::App;
use crate::commands::Outcome;
use crate::error::Error;
use crate::wire::reply::Body;

/// Runs a change to completion, even if the client disconnects meanwhile.
pub(super) async fn run_to_completion<T: 'static>(
    change: impl Future<Output = Result<T, Error>> + 'static,
) -> Result<T, HttpError> {
    let result = actix_web::rt::spawn(change).await.unwrap_or_else(|panic| Err(Error::internal(panic)));
    Ok(result?)
}

/// Runs a command to completion, publishes its events, and returns its reply.
pub(super) async fn apply(
    app: Data<App>,
    command: impl Future<Output = Result<Outcome, Error>> + 'static,
) -> Result<Body, HttpError> {
    run_to_completion(async move {
        let Outcome { reply, events } = command.await.inspect_err(|error| app.db.record_failure(error))?;
        for event in &events {
            app.delivery.publish(event);
        }
        Ok(reply)
    })
    .await
}
