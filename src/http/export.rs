//! All of my data, as one document of any size. It is written a page of a query at a time and no
//! faster than it is read: between two pages nothing is held but the place where it goes on.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::SessionRow;
use super::error::{ErrorBody, HttpError};
use super::extract::SignedIn;
use super::me::Own;
use crate::app::{App, Identity};
use crate::commands::contacts::listed_person_item;
use crate::commands::items::{conversation_kind, member_role, message_item};
use crate::commands::notifications::notification_item;
use crate::error::Error;
use crate::limits::fair_queue::Turn;
use crate::model::{ConversationId, GroupId, Seq, Timestamp, UserId};
use crate::store::conversations::ConversationState;
use crate::store::export;
use crate::store::users::{self, sessions};
use crate::wire::items::{ListedPersonItem, MessageItem, NotificationItem};

/// Rows of a page.
const PAGE: i64 = 100;

/// All of my data.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of a document that is never in memory as a whole")]
pub(super) struct Export {
    account: Own,
    /// Where I am signed in, newest first.
    sessions: Vec<SessionRow>,
    contacts: Vec<ListedPersonItem>,
    /// Whom I have blocked.
    blocked: Vec<ListedPersonItem>,
    /// What others let me know, the oldest first.
    notifications: Vec<NotificationItem<'static>>,
    /// Those that I am in, the oldest first.
    conversations: Vec<ExportedConversation>,
}

/// A conversation that I am in, with all that I may read of it.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExportedConversation {
    /// `dialog` or `group`.
    kind: &'static str,
    /// The other side of a dialog; oneself in notes.
    #[schema(value_type = Option<i64>)]
    receiver_id: Option<UserId>,
    /// Their current name.
    receiver_name: Option<String>,
    /// The group, where it is one.
    #[schema(value_type = Option<i64>)]
    group_id: Option<GroupId>,
    /// Its name.
    group_name: Option<String>,
    /// Since when I am in it.
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
    /// `admin` or `member`.
    role: &'static str,
    /// Whether I called it spam.
    spam: bool,
    /// `seq` of its newest message, 0 where there is none.
    last_seq: Seq,
    /// I have read up to here.
    read_seq: Seq,
    /// Messages have reached me up to here.
    delivered_seq: Seq,
    /// I have cleared the history up to here, and it is not in this document.
    cleared_seq: Seq,
    /// Messages of others past `readSeq`.
    unread_count: i64,
    /// The oldest first. The last field: the messages are written after the rest.
    messages: Vec<MessageItem<'static>>,
}

impl From<ConversationState> for ExportedConversation {
    fn from(state: ConversationState) -> Self {
        let target = state.target();
        Self {
            kind: conversation_kind(&state),
            role: member_role(&state),
            receiver_id: target.user(),
            receiver_name: state.peer_name,
            group_id: target.group(),
            group_name: state.group_name,
            joined_at: state.joined_at,
            spam: state.is_spam,
            last_seq: state.last_seq,
            read_seq: state.read_seq,
            delivered_seq: state.delivered_seq,
            cleared_seq: state.cleared_seq,
            unread_count: state.unread_count,
            messages: Vec::new(),
        }
    }
}

/// All of my data, as a download
#[utoipa::path(get, path = "/api/v1/users/me/export", operation_id = "exportMe", tag = "me", security(("bearer" = [])), responses(
    (status = 200, body = Export, description = "The document, written while it is read; one that ends early is not JSON"),
    (status = 401, body = ErrorBody, description = "No token that is good"),
))]
pub(super) async fn download(app: Data<App>, me: SignedIn) -> Result<HttpResponse, HttpError> {
    let turn = app.exports.turn(me.0.user).await?;
    let mut writing = Writing { app, me: me.0, next: Next::Account, _turn: turn };
    // While a refusal still has a status of its own.
    let beginning = writing.write().await?;
    let rest = stream::try_unfold(writing, async |mut writing| {
        if matches!(writing.next, Next::Nothing) {
            return Ok(None);
        }
        let chunk = writing.write().await.map_err(HttpError::from)?;
        Ok::<_, actix_web::Error>(Some((chunk, writing)))
    });
    let chunks = stream::StreamExt::chain(stream::once(async { Ok(beginning) }), rest);
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"hark-export.json\""))
        .streaming(chunks))
}

/// An export on its way.
struct Writing {
    app: Data<App>,
    me: Identity,
    next: Next,
    /// Each takes a connection to the database for a page, and memory until that is read, so one person
    /// has few at the same time.
    _turn: Turn,
}

/// What is to be written next, and past which row; past 0 it is the first of its list.
#[derive(Clone, Copy)]
enum Next {
    Account,
    Contacts(UserId),
    Blocked(UserId),
    Notifications(i64),
    Conversation(ConversationId),
    Messages(ConversationId, Seq),
    Nothing,
}

impl Writing {
    /// The next piece of the document. Whoever is signed out meanwhile gets no more of it.
    async fn write(&mut self) -> Result<Bytes, Error> {
        let (db, user) = (&self.app.db, self.me.user);
        // A turn a piece: whoever reads many exports at once takes no more connections than with other requests,
        // and who takes a piece slowly keeps nobody waiting.
        let _turn = self.app.requests.turn(user).await?;
        if !sessions::is_open(db, self.me.session, user).await? {
            return Err(Error::unauthorized());
        }
        let mut chunk = Vec::new();
        self.next = match self.next {
            Next::Account => {
                let account = users::find(db, user).await?.ok_or_else(Error::unauthorized)?;
                chunk.extend_from_slice(b"{\"account\":");
                append(&mut chunk, &Own::from(account));
                chunk.extend_from_slice(b",\"sessions\":");
                let sessions = sessions::list(db, user).await?.into_iter();
                append(&mut chunk, &sessions.map(|session| SessionRow::of(session, self.me)).collect::<Vec<_>>());
                chunk.extend_from_slice(b",\"contacts\":[");
                Next::Contacts(UserId(0))
            }
            Next::Contacts(past) => {
                let rows = export::contacts(db, user, past, PAGE).await?;
                let last = rows.last().map(|row| row.id).filter(|_| is_full(&rows));
                append_rows(&mut chunk, past.0 == 0, rows.into_iter().map(listed_person_item));
                goes_on(last.map(Next::Contacts), &mut chunk, b"],\"blocked\":[", Next::Blocked(UserId(0)))
            }
            Next::Blocked(past) => {
                let rows = export::blocked(db, user, past, PAGE).await?;
                let last = rows.last().map(|row| row.id).filter(|_| is_full(&rows));
                append_rows(&mut chunk, past.0 == 0, rows.into_iter().map(listed_person_item));
                goes_on(last.map(Next::Blocked), &mut chunk, b"],\"notifications\":[", Next::Notifications(0))
            }
            Next::Notifications(past) => {
                let rows = export::notifications(db, user, past, PAGE).await?;
                let last = rows.last().map(|row| row.id.0).filter(|_| is_full(&rows));
                let items = rows.iter().map(notification_item).collect::<Result<Vec<_>, Error>>()?;
                append_rows(&mut chunk, past == 0, items);
                let conversations = Next::Conversation(ConversationId(0));
                goes_on(last.map(Next::Notifications), &mut chunk, b"],\"conversations\":[", conversations)
            }
            Next::Conversation(past) => match export::next_conversation(db, user, past).await? {
                Some(state) => {
                    let id = state.id;
                    append_rows(&mut chunk, past.0 == 0, [ExportedConversation::from(state)]);
                    // The list of messages is open again.
                    chunk.truncate(chunk.len() - b"]}".len());
                    Next::Messages(id, 0)
                }
                None => goes_on(None, &mut chunk, b"]}", Next::Nothing),
            },
            Next::Messages(conversation, past) => {
                let messages = export::messages(db, user, conversation, past, PAGE).await?;
                append_rows(&mut chunk, past == 0, messages.iter().map(message_item));
                // A page of messages may be short for its bytes, so only an empty one is the last.
                let more = messages.last().map(|message| Next::Messages(conversation, message.seq));
                goes_on(more, &mut chunk, b"]}", Next::Conversation(conversation))
            }
            Next::Nothing => Next::Nothing,
        };
        Ok(chunk.into())
    }
}

/// Whether a list may go on after this page of it.
fn is_full<T>(rows: &[T]) -> bool {
    i64::try_from(rows.len()) == Ok(PAGE)
}

/// More of a list, or its end and what comes after it.
fn goes_on(more: Option<Next>, chunk: &mut Vec<u8>, end: &[u8], after: Next) -> Next {
    more.unwrap_or_else(|| {
        chunk.extend_from_slice(end);
        after
    })
}

fn append(chunk: &mut Vec<u8>, value: &impl Serialize) {
    serde_json::to_writer(chunk, value).expect("rows and items have string keys, and a Vec takes every write");
}

fn append_rows<T: Serialize>(chunk: &mut Vec<u8>, mut is_first: bool, rows: impl IntoIterator<Item = T>) {
    for row in rows {
        if !std::mem::take(&mut is_first) {
            chunk.push(b',');
        }
        append(chunk, &row);
    }
}
