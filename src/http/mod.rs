//! HTTP: accounts, people, and what an operator asks. Every route is on this screen.

mod asyncapi;
mod auth;
mod compat;
mod conventions;
mod conversations;
mod error;
mod export;
mod extract;
mod flow;
mod forwarded;
mod landing;
mod me;
mod memory;
mod messages;
mod openapi;
mod operations;
mod users;

pub use asyncapi::asyncapi;
pub use conventions::conventions;
pub use flow::{ConnectionFlow, ReadDemand};
pub use memory::within_memory;
pub use openapi::document;

use actix_web::http::StatusCode;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpResponse, HttpResponseBuilder};

use self::error::HttpError;
use crate::app::App;
use crate::commands::Outcome;
use crate::error::{Code, Error};
use crate::wire::reply::Body;

/// The routes. Where GET answers, HEAD does too: see [`conventions`].
pub fn routes(config: &mut ServiceConfig) {
    config
        .app_data(Data::new(landing::Documents::default()))
        .service(
            web::scope("/api/v1")
                .route("/auth/sign-up", web::post().to(auth::sign_up))
                .route("/auth/login", web::post().to(auth::log_in))
                .route("/auth/refresh", web::post().to(auth::refresh))
                .route("/auth/logout", web::delete().to(auth::log_out))
                .route("/auth/sessions", web::get().to(auth::sessions))
                .route("/auth/sessions/{id}", web::delete().to(auth::end_session))
                .route("/users/me", web::get().to(me::read))
                .route("/users/me", web::patch().to(me::change))
                .route("/users/me", web::delete().to(me::delete))
                .route("/users/me/export", web::get().to(export::download))
                .route("/users/me/password", web::put().to(me::change_password))
                .route("/users", web::get().to(users::list))
                .route("/users/{id}", web::get().to(users::read))
                .route("/conversations", web::get().to(conversations::list))
                .route("/conversations/{kind}/{id}", web::get().to(conversations::read))
                .route("/conversations/{kind}/{id}/messages", web::get().to(conversations::messages))
                .route("/conversations/{kind}/{id}/messages", web::post().to(conversations::send))
                .route("/messages/search", web::get().to(messages::search)),
        )
        // The paths that the clients of section 3 of the protocol call.
        .route("/auth/sing-up", web::post().to(compat::sign_up))
        .route("/auth/login", web::post().to(compat::log_in))
        .route("/profile/update", web::patch().to(compat::update_profile))
        .route("/profile/change-password", web::patch().to(compat::change_password))
        .route("/profile/destroy", web::delete().to(compat::destroy_profile))
        .route("/users/list", web::get().to(compat::list_users))
        .route("/healthz", web::get().to(operations::health))
        .route("/readyz", web::get().to(operations::readiness))
        .route("/metrics", web::get().to(operations::metrics))
        .route("/", web::get().to(landing::first_conversation))
        .service(web::resource("/api/openapi.json").get(landing::openapi_document))
        // The files of Swagger UI alone: an unknown path under /api is answered like any other.
        .service(web::resource(r"/api/{name:(?:[^/]+\.(?:css|html|js|png))?}").get(landing::swagger_ui))
        .route("/api/asyncapi.json", web::get().to(landing::socket_document))
        .route("/api", web::get().to(landing::to_swagger_ui))
        .default_service(web::to(nothing_here));
}

/// Carries a change out to its end, though the client may hang up: a handler is dropped then, and
/// what was stored has to be told to those whom it concerns.
async fn to_its_end<T: 'static>(change: impl Future<Output = Result<T, HttpError>> + 'static) -> Result<T, HttpError> {
    actix_web::rt::spawn(change).await.unwrap_or_else(|panic| Err(Error::internal(panic).into()))
}

/// What a command answers, with what others are to hear of it on its way to them.
async fn carried_out(
    app: Data<App>,
    command: impl Future<Output = Result<Outcome, Error>> + 'static,
) -> Result<Body, HttpError> {
    to_its_end(async move {
        let Outcome { reply, events } = command.await?;
        for event in &events {
            app.delivery.publish(event);
        }
        Ok(reply)
    })
    .await
}

async fn nothing_here() -> HttpResponse {
    error::respond(
        HttpResponseBuilder::new(StatusCode::NOT_FOUND),
        "There is nothing at this path for this method",
        Code::NotFound,
    )
}
