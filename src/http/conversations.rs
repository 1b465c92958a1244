//! Conversations and their messages, for programs without a socket. The same functions answer as over
//! one, and say the same.

use actix_web::web::{Data, Json};
use actix_web::{FromRequest, HttpRequest, HttpResponse, dev};
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::carried_out;
use super::error::{ErrorBody, HttpError};
use super::extract::{Asked, Body, QueryString};
use super::messages::Messages;
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

/// What is asked of the conversation that a path names: `users/{id}` or `groups/{id}`.
pub(super) struct In<T>(Target, T);

impl<T: FromRequest<Error = HttpError, Future: 'static>> FromRequest for In<T> {
    type Error = HttpError;
    type Future = LocalBoxFuture<'static, Result<Self, HttpError>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (target, asked) = (named(request), T::from_request(request, payload));
        Box::pin(async move {
            let target = target.ok_or_else(|| Error::not_found("There is no such conversation"))?;
            Ok(Self(target, asked.await?))
        })
    }
}

fn named(request: &HttpRequest) -> Option<Target> {
    let id = request.match_info().get("id")?.parse().ok().filter(|id| (1..=MAX_ID).contains(id))?;
    match request.match_info().get("kind")? {
        "users" => Some(Target::User(UserId(id))),
        "groups" => Some(Target::Group(GroupId(id))),
        _ => None,
    }
}

/// Nothing more than the conversation itself.
pub(super) struct Nothing;

impl FromFields for Nothing {
    fn from_fields(_: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self)
    }
}

/// A page of conversations.
#[derive(Serialize, ToSchema)]
pub(super) struct Conversations {
    #[schema(value_type = Vec<ConversationItem>)]
    data: Option<Box<RawValue>>,
}

/// My conversations, the one with the newest message first
#[utoipa::path(get, path = "/api/v1/conversations", operation_id = "listConversations", tag = "conversations", security(("bearer" = [])), params(
    ("filter" = Option<String>, Query, pattern = "^(all|unread|spam|groups|dialogs)$", description = "all, unread, spam, groups or dialogs; all where left out"),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Rows, 20 where left out"),
    ("page" = Option<i64>, Query, minimum = 1, description = "From 1"),
), responses(
    (status = 200, body = Conversations, description = "Done"),
    (status = 400, body = ErrorBody, description = "A field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn list(
    app: Data<App>,
    asked: Asked<QueryString<ListConversations>>,
) -> Result<Json<Conversations>, HttpError> {
    let Asked(me, QueryString(wanted)) = asked;
    let context = without_socket(&app, me);
    let outcome = chat_list::list_conversations(wanted, context).await?;
    Ok(Json(Conversations { data: outcome.reply.data }))
}

/// One conversation with its members
#[utoipa::path(get, path = "/api/v1/conversations/{kind}/{id}", operation_id = "readConversation", tag = "conversations", security(("bearer" = [])), params(
    ("kind" = String, Path, description = "users or groups"),
    ("id" = i64, Path, minimum = 1, description = "The other person of a dialog, or the group"),
), responses(
    (status = 200, body = ConversationDetails, description = "Done"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 403, body = ErrorBody, description = "For its members alone"),
    (status = 404, body = ErrorBody, description = "There is none"),
))]
pub(super) async fn read(app: Data<App>, asked: Asked<In<QueryString<Nothing>>>) -> Result<HttpResponse, HttpError> {
    let Asked(me, In(target, _)) = asked;
    let context = without_socket(&app, me);
    let outcome = conversations::get_conversation(GetConversation { target }, context).await?;
    Ok(HttpResponse::Ok().json(outcome.reply.item))
}

pub(super) struct WantedMessages(HistoryPage);

impl FromFields for WantedMessages {
    fn from_fields(fields: &Fields<'_>) -> Result<Self, Error> {
        Ok(Self(fields.history_page()?))
    }
}

/// What was said in a conversation, newest first
#[utoipa::path(get, path = "/api/v1/conversations/{kind}/{id}/messages", operation_id = "listMessages", tag = "conversations", security(("bearer" = [])), params(
    ("kind" = String, Path, description = "users or groups"),
    ("id" = i64, Path, minimum = 1, description = "The other person of a dialog, or the group"),
    ("limit" = Option<i64>, Query, minimum = 1, maximum = 100, description = "Rows, 20 where left out"),
    ("page" = Option<i64>, Query, minimum = 1, description = "From 1; not with before"),
    ("before" = Option<i64>, Query, minimum = 1, description = "Messages below this seq; not with page"),
), responses(
    (status = 200, body = Messages, description = "Done; empty where a dialog has not begun"),
    (status = 400, body = ErrorBody, description = "A field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 403, body = ErrorBody, description = "For its members alone"),
    (status = 404, body = ErrorBody, description = "There is no such user or group"),
))]
pub(super) async fn messages(
    app: Data<App>,
    asked: Asked<In<QueryString<WantedMessages>>>,
) -> Result<Json<Messages>, HttpError> {
    let Asked(me, In(target, QueryString(WantedMessages(page)))) = asked;
    let found = history::load_page(target, page, &without_socket(&app, me)).await?;
    let data: Vec<MessageItem<'_>> = found.iter().map(message_item).collect();
    Ok(Json(Messages { data: Some(raw(&data)) }))
}

/// A message to send.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct NewMessage {
    /// 1 to 16,384 bytes, as they are.
    #[schema(value_type = String, min_length = 1, example = "Hi")]
    content: Content,
    /// My own name for it, so that sending it again is safe.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 64, example = "a1")]
    client_message_id: Option<ClientMessageId>,
    /// The message of this conversation that it replies to.
    #[schema(value_type = Option<i64>, minimum = 1)]
    reply_to: Option<MessageId>,
}

impl FromFields for NewMessage {
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
    ("kind" = String, Path, description = "users or groups"),
    ("id" = i64, Path, minimum = 1, description = "The other person of a dialog, or the group"),
), request_body = NewMessage, responses(
    (status = 201, body = ReceiptItem, description = "It is committed"),
    (status = 400, body = ErrorBody, description = "The body or a field is not good; the message names it"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
    (status = 403, body = ErrorBody, description = "For its members alone, or blocked by the other one"),
    (status = 404, body = ErrorBody, description = "There is no such user or group, or no such message to reply to"),
    (status = 413, body = ErrorBody, description = "The body is over the limit"),
    (status = 503, body = ErrorBody, description = "Nothing was confirmed; send it again with the same clientMessageId"),
))]
pub(super) async fn send(app: Data<App>, asked: Asked<In<Body<NewMessage>>>) -> Result<HttpResponse, HttpError> {
    let Asked(me, In(to, Body(NewMessage { content, client_message_id, reply_to }))) = asked;
    let context = without_socket(&app, me);
    if let Some(message) = reply_to
        && find_target(&app.db, me.user, message).await? != to
    {
        return Err(
            Error::of_field(Code::NotFound, Field::ReplyTo, ": there is no such message in this conversation").into()
        );
    }
    let body = carried_out(app, messages::send(to, content, client_message_id, reply_to, &context)).await?;
    Ok(HttpResponse::Created().json(body.item))
}

fn without_socket(app: &Data<App>, me: Identity) -> Context {
    Context::without_socket(app.clone().into_inner(), me.user)
}
