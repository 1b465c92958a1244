//! HTTP: accounts, users, conversations and messages for programs without a socket, and what an operator's
//! tools read. Every route is on this screen, but those of old clients, which are in [`compat`].

mod accounts;
mod asyncapi;
mod compat;
mod completion;
mod conventions;
mod conversations;
mod cors;
mod error;
mod export;
mod extract;
mod flow;
mod forwarded;
mod landing;
mod memory;
mod messages;
mod openapi;
mod operations;
mod sessions;
mod users;

pub use asyncapi::asyncapi;
pub use conventions::conventions;
pub use cors::cors;
pub use flow::{ConnectionFlow, ReadDemand};
pub use memory::limit_response_memory;
pub use openapi::openapi;

use actix_web::web::{self, Data, ServiceConfig};

/// The routes. Where GET answers, HEAD does too: see [`conventions`].
pub fn routes(config: &mut ServiceConfig) {
    config
        .app_data(Data::new(landing::SwaggerFiles::default()))
        .app_data(Data::new(openapi::OpenapiDocument::default()))
        .app_data(Data::new(asyncapi::AsyncapiDocument::default()))
        .service(
            web::scope("/api/v1")
                .route("/auth/sign-up", web::post().to(accounts::sign_up))
                .route("/auth/login", web::post().to(sessions::log_in))
                .route("/auth/refresh", web::post().to(sessions::refresh))
                .route("/auth/logout", web::delete().to(sessions::log_out))
                .route("/auth/sessions", web::get().to(sessions::list))
                .route("/auth/sessions/{id}", web::delete().to(sessions::end))
                .route("/users/me", web::get().to(accounts::read))
                .route("/users/me", web::patch().to(accounts::change))
                .route("/users/me", web::delete().to(accounts::delete))
                .route("/users/me/export", web::get().to(export::download))
                .route("/users/me/password", web::put().to(accounts::change_password))
                .route("/users", web::get().to(users::list))
                .route("/users/{id}", web::get().to(users::read))
                .route("/conversations", web::get().to(conversations::list))
                .route("/conversations/{kind}/{id}", web::get().to(conversations::read))
                .route("/conversations/{kind}/{id}/messages", web::get().to(conversations::messages))
                .route("/conversations/{kind}/{id}/messages", web::post().to(conversations::send))
                .route("/messages/search", web::get().to(messages::search)),
        )
        .configure(compat::routes)
        .route("/healthz", web::get().to(operations::health))
        .route("/readyz", web::get().to(operations::readiness))
        .route("/metrics", web::get().to(operations::metrics))
        .route("/", web::get().to(landing::landing_page))
        .service(web::resource("/api/openapi.json").get(openapi::openapi_document))
        // The files of Swagger UI alone: an unknown path under /api is answered like any other.
        .service(web::resource(r"/api/{name:(?:[^/]+\.(?:css|html|js|png))?}").get(landing::swagger_ui))
        .route("/api/asyncapi.json", web::get().to(asyncapi::asyncapi_document))
        .route("/api", web::get().to(landing::redirect_to_swagger_ui))
        .default_service(web::to(error::not_found));
}
