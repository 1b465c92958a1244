//! Export of all data of a user, as one document of any size. The document is streamed with backpressure: a page
//! of a query at a time, no faster than the client reads; between two pages only the position is kept.

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use actix_web::web::{Bytes, Data};
use futures_util::stream;
use serde::Serialize;
use utoipa::ToSchema;

use super::accounts::AccountBody;
use super::error::{ErrorBody, HttpError};
use super::extract::Caller;
use super::sessions::SessionRow;
use crate::app::{App, Identity};
use crate::commands::contacts::listed_person_item;
use crate::commands::items::{conversation_kind, member_role, message_item};
use crate::commands::notifications::notification_item;
use crate::error::Error;
use crate::limits::fair_queue::FairPermit;
use crate::model::{ConversationId, GroupId, Seq, Timestamp, UserId};
use crate::store::conversations::ConversationState;
use crate::store::export;
use crate::store::users::{self, sessions};
use crate::wire::items::{ListedPersonItem, MessageItem, NotificationItem};

/// Rows of one query.
const PAGE_ROWS: i64 = 100;

/// All data of a user.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of a document that is never in memory as a whole")]
pub(super) struct Export {
    /// The account.
    account: AccountBody,
    /// The open sessions, newest first.
    sessions: Vec<SessionRow>,
    /// The contacts of the user.
    contacts: Vec<ListedPersonItem>,
    /// The users that the user has blocked.
    blocked: Vec<ListedPersonItem>,
    /// The notifications of the user, the oldest first.
    notifications: Vec<NotificationItem<'static>>,
    /// The conversations of the user, the oldest first.
    conversations: Vec<ExportedConversation>,
}

/// A conversation of the user, with all messages that the user may read.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ExportedConversation {
    /// `dialog` or `group`.
    kind: &'static str,
    /// The id of the other user of a dialog, null in a group. In notes to oneself it is one's own.
    #[schema(value_type = Option<i64>)]
    receiver_id: Option<UserId>,
    /// The current name of that user.
    receiver_name: Option<String>,
    /// The id of the group, null in a dialog.
    #[schema(value_type = Option<i64>)]
    group_id: Option<GroupId>,
    /// The name of the group.
    group_name: Option<String>,
    /// When the user joined.
    #[schema(value_type = String, format = DateTime)]
    joined_at: Timestamp,
    /// `admin` or `member`.
    role: &'static str,
    /// Whether the user has marked it as spam.
    spam: bool,
    /// `seq` of the newest message, 0 where there is none.
    last_seq: Seq,
    /// The user has read up to this `seq`.
    read_seq: Seq,
    /// Messages up to this `seq` were delivered to the user.
    delivered_seq: Seq,
    /// The user has cleared the history up to this `seq`; the document does not hold it.
    cleared_seq: Seq,
    /// Number of messages of others past `readSeq`.
    unread_count: i64,
    /// The messages, the oldest first. This is the last field, because the messages are written after the rest.
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

/// Download all of my data
#[utoipa::path(get, path = "/api/v1/users/me/export", operation_id = "exportMe", tag = "me", security(("bearer" = [])), responses(
    (status = 200, body = Export, description = "The document, written while it is read. A document that ends early is not valid JSON"),
    (status = 401, body = ErrorBody, description = "The token is missing or not valid"),
))]
pub(super) async fn download(app: Data<App>, me: Caller) -> Result<HttpResponse, HttpError> {
    let turn = app.export_queue.acquire(me.0.user).await?;
    let mut writer = ExportWriter { app, me: me.0, position: Position::Account, _turn: turn };
    // The first chunk before the response begins, while an error still has a status of its own.
    let first_chunk = writer.write_chunk().await?;
    let rest = stream::try_unfold(writer, async |mut writer| {
        if matches!(writer.position, Position::End) {
            return Ok(None);
        }
        let chunk = writer.write_chunk().await.map_err(HttpError::from)?;
        Ok::<_, actix_web::Error>(Some((chunk, writer)))
    });
    let chunks = stream::StreamExt::chain(stream::once(async { Ok(first_chunk) }), rest);
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/json"))
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"hark-export.json\""))
        .streaming(chunks))
}

/// An export that is being written.
struct ExportWriter {
    app: Data<App>,
    me: Identity,
    position: Position,
    /// A turn of the fair queue of exports. An export takes a connection to the database for each page, and
    /// memory until the page is read, so one user has few at the same time.
    _turn: FairPermit,
}

/// What is written next, and after which row of a list; after 0 is its beginning.
#[derive(Clone, Copy)]
enum Position {
    Account,
    Contacts(UserId),
    Blocked(UserId),
    Notifications(i64),
    Conversation(ConversationId),
    Messages(ConversationId, Seq),
    End,
}

impl ExportWriter {
    /// Writes the next chunk of the document. Fails once the session has ended.
    async fn write_chunk(&mut self) -> Result<Bytes, Error> {
        let (db, user) = (&self.app.db, self.me.user);
        // One turn for each chunk: parallel exports take no more connections than other requests of a user may, and a
        // client that reads a chunk slowly does not delay others.
        let _turn = self.app.request_queue.acquire(user).await?;
        if !sessions::is_open(db, self.me.session, user).await? {
            return Err(Error::unauthorized());
        }
        let mut chunk = Vec::new();
        self.position = match self.position {
            Position::Account => {
                let account = users::find(db, user).await?.ok_or_else(Error::unauthorized)?;
                chunk.extend_from_slice(b"{\"account\":");
                append(&mut chunk, &AccountBody::from(account));
                chunk.extend_from_slice(b",\"sessions\":");
                let sessions = sessions::list(db, user).await?.into_iter();
                append(&mut chunk, &sessions.map(|session| SessionRow::new(session, self.me)).collect::<Vec<_>>());
                chunk.extend_from_slice(b",\"contacts\":[");
                Position::Contacts(UserId(0))
            }
            Position::Contacts(past) => {
                let rows = export::contacts(db, user, past, PAGE_ROWS).await?;
                let last = rows.last().map(|row| row.id).filter(|_| is_full(&rows));
                append_rows(&mut chunk, past.0 == 0, rows.into_iter().map(listed_person_item));
                continue_or_close(
                    last.map(Position::Contacts),
                    &mut chunk,
                    b"],\"blocked\":[",
                    Position::Blocked(UserId(0)),
                )
            }
            Position::Blocked(past) => {
                let rows = export::blocked(db, user, past, PAGE_ROWS).await?;
                let last = rows.last().map(|row| row.id).filter(|_| is_full(&rows));
                append_rows(&mut chunk, past.0 == 0, rows.into_iter().map(listed_person_item));
                continue_or_close(
                    last.map(Position::Blocked),
                    &mut chunk,
                    b"],\"notifications\":[",
                    Position::Notifications(0),
                )
            }
            Position::Notifications(past) => {
                let rows = export::notifications(db, user, past, PAGE_ROWS).await?;
                let last = rows.last().map(|row| row.id.0).filter(|_| is_full(&rows));
                let items = rows.iter().map(notification_item).collect::<Result<Vec<_>, Error>>()?;
                append_rows(&mut chunk, past == 0, items);
                let conversations = Position::Conversation(ConversationId(0));
                continue_or_close(
                    last.map(Position::Notifications),
                    &mut chunk,
                    b"],\"conversations\":[",
                    conversations,
                )
            }
            Position::Conversation(past) => match export::next_conversation(db, user, past).await? {
                Some(state) => {
                    let id = state.id;
                    append_rows(&mut chunk, past.0 == 0, [ExportedConversation::from(state)]);
                    // Cuts the end off, so that the list of messages is open again.
                    chunk.truncate(chunk.len() - b"]}".len());
                    Position::Messages(id, 0)
                }
                None => continue_or_close(None, &mut chunk, b"]}", Position::End),
            },
            Position::Messages(conversation, past) => {
                let messages = export::messages(db, user, conversation, past, PAGE_ROWS).await?;
                append_rows(&mut chunk, past == 0, messages.iter().map(message_item));
                // The byte limit of a page may cut it short, so only an empty page is the last.
                let more = messages.last().map(|message| Position::Messages(conversation, message.seq));
                continue_or_close(more, &mut chunk, b"]}", Position::Conversation(conversation))
            }
            Position::End => Position::End,
        };
        Ok(chunk.into())
    }
}

/// Whether a list may have more rows after this page.
fn is_full<T>(rows: &[T]) -> bool {
    i64::try_from(rows.len()) == Ok(PAGE_ROWS)
}

/// The position after a page: `more` of the same list, or `after` it, in which case `end` closes the list.
fn continue_or_close(more: Option<Position>, chunk: &mut Vec<u8>, end: &[u8], after: Position) -> Position {
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
