//! Routes of conversations and their messages, for programs without a socket. The commands that frames call
//! answer here too, with the same items.

use actix_web::web::{Data, Json};
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::completion::apply;
use super::error::{ErrorBody, HttpError};
use super::extract::{Authenticated, Body, QueryString};
use super::messages::MessagePage;
use crate::app::{App, Identity};
use crate::commands::chat_list::{self, ListConversations};
use crate::commands::conversations::{self, GetConversation};
use crate::commands::items::message_item;
use crate::commands::{Context, history, messages};
use crate::error::{Code, Error, Field};
use crate::model::{ClientMessageId, Content, GroupId, HistoryPage, MAX_ID, MessageId, Target, UserId};
use crate::store::messages::find_target;
use crate::wire::items::{ConversationDetails, ConversationItem, MessageItem, ReceiptItem};
use crate::wire::params::{Fields, FromFields};
use crate::wire::reply::raw;

/// The conversation that the path names, `users/{id}` or `groups/{id}`, and the rest of the request.
pub(super) struct InConversation<T>(Target, T);

impl<T: FromRequest<Error = HttpError, Future: 'static>> FromRequest for InConversation<T> {
    type Error = HttpError;
    type Future = LocalBoxFuture<'static, Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (target, rest) = (target_of_path(request), T::from_request(request, payload));
        Box::pin(async move {
            let target = target.ok_or_else(|| Error::not_found("There is no such conversation"))?;
            Ok(Self(target, rest.await?))
        })
    }
}

fn target_of_path(request: &HttpRequest) -> Option<Target> {
    let id = request.match_info().get("id")?.parse().ok().filter(|id| (1..=MAX_ID).contains(id))?;
    match request.match_info().get("kind")? {
        "users" => Some(Target::User(UserId(id))),
        "groups" => Some(Target::Group(GroupId(id))),
        _ => None,
    }
}

/// The parameters of a request that has none besides its path.
pub(super) struct NoParams;

impl FromFields for NoParams {
    fn from_fields(_: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self)
    }
}

/// A page of conversations.
#[derive(Serialize, ToSchema)]
pub(super) struct ConversationPage {
    /// The conversations of the page.
    #[schema(value_type = Vec<ConversationItem>)]
    data: Option<Box<RawValue>>,
}

/// List my conversations, the one with the newest message first
#[utoipa::path(get, path = "/api/v1/conversations", operation_id = "listConversations", tag = "conversations", security(("bearer" = [])), params(
    ("filter" = Option<String>, Query, description = "Which conversations; all where left out"),
    ("limit" = Option<i64>, Query, description = "Rows of the page"),
    ("page" = Option<i64>, Query, description = "Number of the page, from 1"),
), responses(
    (status = 200, body = ConversationPage, description = "The conversations of the page"),
    (status = 400, body = ErrorBody, description = "A field is not valid; the message names it"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn list(
    app: Data<App>,
    request: Authenticated<QueryString<ListConversations>>,
) -> Result<Json<ConversationPage>, HttpError> {
    let Authenticated(me, QueryString(params)) = request;
    let context = without_socket(&app, me);
    let outcome = chat_list::list_conversations(params, context).await?;
    Ok(Json(ConversationPage { data: outcome.reply.data }))
}

/// Read one conversation with its members
#[utoipa::path(get, path = "/api/v1/conversations/{kind}/{id}", operation_id = "readConversation", tag = "conversations", security(("bearer" = [])), params(
    ("kind" = String, Path, description = "`users` for a dialog, `groups` for a group"),
    ("id" = i64, Path, minimum = 1, description = "The id of the other user of a dialog, or of the group"),
), responses(
    (status = 200, body = ConversationDetails, description = "The conversation"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
    (status = 403, body = ErrorBody, description = "The caller is not a member of the group"),
    (status = 404, body = ErrorBody, description = "There is no such conversation"),
))]
pub(super) async fn read(
    app: Data<App>,
    request: Authenticated<InConversation<QueryString<NoParams>>>,
) -> Result<HttpResponse, HttpError> {
    let Authenticated(me, InConversation(target, _)) = request;
    let context = without_socket(&app, me);
    let outcome = conversations::get_conversation(GetConversation { target }, context).await?;
    Ok(HttpResponse::Ok().json(outcome.reply.item))
}

/// The parameters of a page of a history.
pub(super) struct HistoryParams(HistoryPage);

impl FromFields for HistoryParams {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self(fields.history_page()?))
    }
}

/// List the messages of a conversation, newest first
#[utoipa::path(get, path = "/api/v1/conversations/{kind}/{id}/messages", operation_id = "listMessages", tag = "conversations", security(("bearer" = [])), params(
    ("kind" = String, Path, description = "`users` for a dialog, `groups` for a group"),
    ("id" = i64, Path, minimum = 1, description = "The id of the other user of a dialog, or of the group"),
    ("limit" = Option<i64>, Query, description = "Rows of the page"),
    ("page" = Option<i64>, Query, description = "Number of the page, from 1; excludes before"),
    ("before" = Option<i64>, Query, description = "Only messages below this seq; excludes page"),
), responses(
    (status = 200, body = MessagePage, description = "The messages of the page; none where the dialog has no messages yet"),
    (status = 400, body = ErrorBody, description = "A field is not valid; the message names it"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
    (status = 403, body = ErrorBody, description = "The caller is not a member of the group"),
    (status = 404, body = ErrorBody, description = "There is no such user or group"),
))]
pub(super) async fn messages(
    app: Data<App>,
    request: Authenticated<InConversation<QueryString<HistoryParams>>>,
) -> Result<Json<MessagePage>, HttpError> {
    let Authenticated(me, InConversation(target, QueryString(HistoryParams(page)))) = request;
    let found = history::load_page(target, page, &without_socket(&app, me)).await?;
    let data: Vec<MessageItem<'_>> = found.iter().map(message_item).collect();
    Ok(Json(MessagePage { data: Some(raw(&data)) }))
}

/// A message to send.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OutgoingMessage {
    /// The text, stored as it is.
    #[schema(value_type = String, example = "Hi")]
    content: Content,
    /// The client's own id for the message, an idempotency key: a repeated send stores nothing.
    #[schema(value_type = Option<String>, example = "a1")]
    client_message_id: Option<ClientMessageId>,
    /// The id of the message of this conversation that it replies to.
    #[schema(value_type = Option<i64>)]
    reply_to: Option<MessageId>,
}

impl FromFields for OutgoingMessage {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self {
            content: fields.required("content")?,
            client_message_id: fields.optional("clientMessageId")?,
            reply_to: fields.optional("replyTo")?,
        })
    }
}

/// Send a message
#[utoipa::path(post, path = "/api/v1/conversations/{kind}/{id}/messages", operation_id = "sendMessage", tag = "conversations", security(("bearer" = [])), params(
    ("kind" = String, Path, description = "`users` for a dialog, `groups` for a group"),
    ("id" = i64, Path, minimum = 1, description = "The id of the other user of a dialog, or of the group"),
), request_body = OutgoingMessage, responses(
    (status = 201, body = ReceiptItem, description = "The message is committed"),
    (status = 400, body = ErrorBody, description = "The body or a field is not valid; the message names it"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
    (status = 403, body = ErrorBody, description = "The caller is not a member of the group, or is blocked by the other user"),
    (status = 404, body = ErrorBody, description = "There is no such user or group, or no such message to reply to"),
    (status = 503, body = ErrorBody, description = "Nothing was confirmed; send it again with the same clientMessageId"),
))]
pub(super) async fn send(
    app: Data<App>,
    request: Authenticated<InConversation<Body<OutgoingMessage>>>,
) -> Result<HttpResponse, HttpError> {
    let Authenticated(me, InConversation(to, Body(message))) = request;
    let OutgoingMessage { content, client_message_id, reply_to } = message;
    let context = without_socket(&app, me);
    if let Some(message) = reply_to
        && find_target(&app.db, me.user, message).await? != to
    {
        return Err(
            Error::of_field(Code::NotFound, Field::ReplyTo, ": there is no such message in this conversation").into()
        );
    }
    let body = apply(app, messages::send(to, content, client_message_id, reply_to, &context)).await?;
    Ok(HttpResponse::Created().json(body.item))
}

fn without_socket(app: &Data<App>, me: Identity) -> Context {
    Context::without_socket(app.clone().into_inner(), me.user)
}
