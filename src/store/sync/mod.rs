//! Changes in the conversations of a user since a cursor, for `sync`.
//!
//! A change is stored with the id of its transaction, and a cursor is a snapshot of PostgreSQL. What the snapshot does
//! not see has changed since, also if its transaction had begun before the cursor was handed out. A cursor names an
//! epoch too, by which it is rejected in another history of the database; the migrations have the details.

mod cursor;

use std::collections::HashMap;

use self::cursor::{PageInProgress, RowPosition, Snapshot, SyncCursor};
use super::Db;
use super::messages::{self, StoredMessage};
use crate::error::{Code, Error, Field};
use crate::model::{ChangeKind, Cursor, GroupEventKind, GroupId, MessageId, Seq, Target, Timestamp, UserId};

/// A page of changes.
#[derive(Debug)]
pub struct SyncPage {
    /// The changes in the order of their conversations; within one, group events come first, then messages, markers and
    /// the user's settings.
    pub changes: Vec<Change>,
    /// The cursor of the next page.
    pub cursor: String,
    /// Whether there are more changes already.
    pub more: bool,
    /// Whether nothing is missing between the given cursor and this page.
    pub complete: bool,
}

/// A change, with the current state of what has changed.
#[derive(Debug)]
pub struct Change {
    /// Its kind, and so the type of the push that was missed.
    pub kind: ChangeKind,
    /// What has changed.
    pub subject: ChangedSubject,
}

/// What has changed.
#[derive(Debug)]
pub enum ChangedSubject {
    /// A message is new, or was edited, deleted or reacted to.
    Message(Box<StoredMessage>),
    /// A member joined or left, became an admin or no longer is one.
    Member {
        /// The group.
        group: GroupId,
        /// Its name.
        group_name: String,
        /// The member.
        user: UserId,
        /// Their name.
        user_name: String,
    },
    /// A group was renamed, or has ended.
    Group {
        /// The group.
        group: GroupId,
        /// Its name.
        group_name: String,
    },
    /// A member has read messages, or messages were delivered to them.
    Marker {
        /// The conversation, as the asker names it.
        target: Target,
        /// The member.
        user: UserId,
        /// The marker: all messages up to here.
        seq: Seq,
        /// When it was set.
        at: Timestamp,
    },
    /// The asker has marked a conversation as spam, or no longer does.
    Spam {
        /// The conversation.
        target: Target,
        /// Whether it is spam.
        spam: bool,
    },
    /// The asker has removed a conversation.
    Removed {
        /// The conversation.
        target: Target,
        /// Messages up to here are cleared.
        cleared_seq: Seq,
    },
}

/// Lists what has changed since a cursor. Without a cursor it lists nothing, and returns the current one.
///
/// # Errors
/// `bad_params` if the cursor was not handed out by Hark.
pub async fn changes(db: &Db, asker: UserId, cursor: Option<&Cursor>, limit: i64) -> Result<SyncPage, Error> {
    let cursor = match cursor {
        Some(cursor) => Some(
            SyncCursor::parse(cursor)
                .ok_or_else(|| Error::of_field(Code::BadParams, Field::Cursor, " is not one of ours"))?,
        ),
        None => None,
    };
    let current = current_snapshot(db, cursor.as_ref()).await?;
    let now = current.snapshot;
    let empty_page = |now: Snapshot, complete| SyncPage {
        changes: Vec::new(),
        cursor: SyncCursor { epoch: current.epoch, base: now.bounded(), page: None }.to_string(),
        more: false,
        complete,
    };
    let Some(cursor) = cursor else { return Ok(empty_page(now, true)) };
    if current.proven_end.is_none_or(|proven_end| cursor.end() > proven_end) {
        return Ok(empty_page(now, false));
    }
    let SyncCursor { epoch, base, page } = cursor;
    // A page reports what `seen` sees. The cursor after it may see less, and never more.
    let (epoch, target, seen, after) = match page {
        Some(PageInProgress { target, after }) => {
            // A bounded snapshot leaves out transactions: some of them were on the first page, and the changes of the
            // others must not wait until all of them have ended.
            let seen = if target.is_full() { now.clone() } else { target.clone() };
            (epoch, target, seen, after)
        }
        // The cursor takes the epoch of `now` from here on: what it knows is proven, so it lies in the past of that
        // epoch.
        None => (current.epoch, now.clone().bounded(), now.clone(), RowPosition::START),
    };
    // One row more than fits on the page shows whether there are more.
    let mut rows = read_rows(db, asker, &base, &seen, after, limit.saturating_add(1)).await?;
    let overflows = usize::try_from(limit).is_ok_and(|limit| rows.len() > limit);
    if overflows {
        rows.pop();
    }
    let (next, more) = match rows.last() {
        Some(last) if overflows => {
            let page = Some(PageInProgress { target, after: last.position() });
            (SyncCursor { epoch, base, page }.to_string(), true)
        }
        _ => {
            // The end of a backlog may lie before `now`: changes that were committed while the asker paged, or was
            // offline in the middle of it, are after that end.
            let is_past = seen != now;
            let more = is_past && !read_rows(db, asker, &target, &now, RowPosition::START, 1).await?.is_empty();
            (SyncCursor { epoch, base: target, page: None }.to_string(), more)
        }
    };
    let ids: Vec<MessageId> = rows.iter().filter_map(|row| row.message_id).collect();
    let loaded = if ids.is_empty() { Vec::new() } else { messages::load(db, &ids).await? };
    let mut messages: HashMap<MessageId, StoredMessage> =
        loaded.into_iter().map(|message| (message.id, message)).collect();
    let changes = rows.into_iter().filter_map(|row| row.into_change(&mut messages)).collect();
    Ok(SyncPage { changes, cursor: next, more, complete: true })
}

/// The current snapshot, and what a cursor is worth compared to it.
struct CurrentSnapshot {
    /// The newest epoch that the snapshot sees.
    epoch: i64,
    snapshot: Snapshot,
    /// A cursor that ends here or before is of this history; `None` if its epoch is of another one.
    proven_end: Option<u64>,
}

async fn current_snapshot(db: &Db, cursor: Option<&SyncCursor>) -> Result<CurrentSnapshot, Error> {
    // One statement, so that there is one snapshot. It reads the timeline of the server anew: a standby may have taken
    // over since the epoch was started.
    let row = sqlx::query!(
        r#"select e.epoch, pg_current_snapshot()::text as "snapshot!", k.ordinal is not null as "is_known!",
                  (select min(l.start_xid) from change_epochs l where l.ordinal > k.ordinal) as "began?"
           from change_epochs e
           left join (change_clock c join change_epochs k on k.clock_id = c.clock_id)
               on k.epoch = $1
              and k.timeline = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
           order by e.ordinal desc limit 1"#,
        cursor.map(|cursor| cursor.epoch)
    )
    .fetch_one(&db.pool)
    .await?;
    let snapshot =
        Snapshot::parse(&row.snapshot).ok_or_else(|| Error::internal("a snapshot is not as we know them"))?;
    // A cursor that reaches past the beginning of a later epoch, or past the current snapshot, is of a lost history.
    let began = row.began.map_or(Ok(u64::MAX), u64::try_from).map_err(Error::internal)?;
    let proven_end = row.is_known.then(|| snapshot.end().min(began));
    Ok(CurrentSnapshot { epoch: row.epoch, snapshot, proven_end })
}

/// A row of the SQL function `changes_since`, with the names that its item needs.
#[derive(Debug)]
struct ChangedRow {
    conversation_id: i64,
    part: i32,
    place: i64,
    tie: i64,
    kind: String,
    peer_id: Option<UserId>,
    message_id: Option<MessageId>,
    user_id: Option<UserId>,
    seq: Option<Seq>,
    at: Option<Timestamp>,
    is_spam: Option<bool>,
    user_name: Option<String>,
    group_name: Option<String>,
}

/// Reads at most `at_most` rows of what `target` sees and `base` does not, past the position `after`.
async fn read_rows(
    db: &Db,
    asker: UserId,
    base: &Snapshot,
    target: &Snapshot,
    after: RowPosition,
    at_most: i64,
) -> Result<Vec<ChangedRow>, Error> {
    // Subqueries and not joins: one lookup of a name per row, however few rows the planner expects of a function. A
    // user who is no longer in a group gets the name that the group had then.
    Ok(sqlx::query_as!(
        ChangedRow,
        r#"select f.conversation_id as "conversation_id!", f.part as "part!", f.place as "place!", f.tie as "tie!",
                  f.kind as "kind!", f.peer_id as "peer_id?: _", f.message_id as "message_id?: _",
                  f.user_id as "user_id?: _", f.seq as "seq?", f.at as "at?: _", f.is_spam as "is_spam?",
                  (select u.name from users u where u.id = f.user_id) as "user_name?",
                  case when f.part = 1 and not exists (select from members m
                           where m.conversation_id = f.conversation_id and m.user_id = $1)
                       then (select e.group_name from group_events e where e.id = f.place)
                       else (select c.name from conversations c where c.id = f.conversation_id) end as "group_name?"
           from changes_since($1, $2::text::pg_snapshot, $3::text::pg_snapshot, $4, $5, $6, $7, $8)
                with ordinality f (conversation_id, part, place, tie, kind, peer_id, message_id, user_id, seq, at, is_spam, nth)
           order by f.nth"#,
        asker.0,
        base.to_string(),
        target.to_string(),
        after.conversation,
        after.part,
        after.place,
        after.tie,
        at_most
    )
    .fetch_all(&db.pool)
    .await?)
}

impl ChangedRow {
    fn position(&self) -> RowPosition {
        RowPosition { conversation: self.conversation_id, part: self.part, place: self.place, tie: self.tie }
    }

    /// The conversation, as the asker names it.
    fn target(&self) -> Target {
        self.peer_id.map_or(Target::Group(GroupId(self.conversation_id)), Target::User)
    }

    /// `None` if the row lacks what a change of its kind consists of, such as a message that was deleted meanwhile.
    fn into_change(self, messages: &mut HashMap<MessageId, StoredMessage>) -> Option<Change> {
        let (target, group) = (self.target(), GroupId(self.conversation_id));
        let kind = ChangeKind::from_frame_type(&self.kind)?;
        let subject = match kind {
            ChangeKind::Group(GroupEventKind::Renamed | GroupEventKind::Dropped) => {
                ChangedSubject::Group { group, group_name: self.group_name? }
            }
            ChangeKind::Group(_) => ChangedSubject::Member {
                group,
                group_name: self.group_name?,
                user: self.user_id?,
                user_name: self.user_name?,
            },
            ChangeKind::Message(_) => ChangedSubject::Message(Box::new(messages.remove(&self.message_id?)?)),
            ChangeKind::Receipt(_) => {
                ChangedSubject::Marker { target, user: self.user_id?, seq: self.seq?, at: self.at? }
            }
            ChangeKind::ConversationRemoved => ChangedSubject::Removed { target, cleared_seq: self.seq? },
            ChangeKind::SpamMarked => ChangedSubject::Spam { target, spam: self.is_spam? },
        };
        Some(Change { kind, subject })
    }
}
