//! What has changed in somebody's conversations since a cursor. A change has the number of its
//! transaction and a cursor is a snapshot, so that a change which commits after the cursor was handed
//! out is not in it, whatever its number. It names an epoch too, so that it proves nothing in a history of the
//! database that is not its own; the migrations say the rest.

mod cursor;

use std::collections::HashMap;

use self::cursor::{Known, Pending, Position, Snapshot};
use super::Db;
use super::messages::{self, StoredMessage};
use crate::error::{Code, Error, Field};
use crate::model::{Cursor, GroupId, MessageId, Seq, Target, Timestamp, UserId};

/// A page of what has changed.
#[derive(Debug)]
pub struct Page {
    /// In the order of conversations; in each of them who came and went, messages, marks, wishes.
    pub changes: Vec<Change>,
    /// Where the next one begins.
    pub cursor: String,
    /// Whether there is more already.
    pub more: bool,
    /// Whether nothing is missing between the cursor that was given and this page.
    pub complete: bool,
}

/// Something that has changed, as it is now.
#[derive(Debug)]
pub enum Change {
    /// A message is new, or was edited, deleted or reacted to.
    Message {
        /// The type of its push.
        kind: String,
        /// The message.
        message: Box<StoredMessage>,
    },
    /// Somebody came, went, became an admin or no longer is.
    Member {
        /// The type of its push.
        kind: String,
        /// Where.
        group: GroupId,
        /// Its name.
        group_name: String,
        /// Who.
        user: UserId,
        /// Their name.
        user_name: String,
    },
    /// A group has another name, or is no more.
    Group {
        /// The type of its push.
        kind: String,
        /// Which.
        group: GroupId,
        /// Its name.
        group_name: String,
    },
    /// Somebody has read, or messages have reached them.
    Marker {
        /// The type of its push.
        kind: String,
        /// Where.
        target: Target,
        /// Who.
        user: UserId,
        /// Up to here.
        seq: Seq,
        /// Since when.
        at: Timestamp,
    },
    /// The asker called it spam, or no longer does.
    Spam {
        /// What.
        target: Target,
        /// Whether it is.
        spam: bool,
    },
    /// The asker has removed it.
    Removed {
        /// What.
        target: Target,
        /// Its history up to here is gone.
        cleared_seq: Seq,
    },
}

/// What has changed since a cursor; without one, where the asker stands now.
///
/// # Errors
/// `bad_params` where the cursor is none of ours.
pub async fn changes(db: &Db, asker: UserId, cursor: Option<&Cursor>, limit: i64) -> Result<Page, Error> {
    let known = match cursor {
        Some(cursor) => Some(
            Known::parse(cursor)
                .ok_or_else(|| Error::of_field(Code::BadParams, Field::Cursor, " is not one of ours"))?,
        ),
        None => None,
    };
    let here = Here::look(db, known.as_ref()).await?;
    let now = here.now;
    let nothing = |now: Snapshot, complete| Page {
        changes: Vec::new(),
        cursor: Known { epoch: here.epoch, base: now.bounded(), pending: None }.to_string(),
        more: false,
        complete,
    };
    let Some(known) = known else { return Ok(nothing(now, true)) };
    if here.proven_end.is_none_or(|proven_end| known.end() > proven_end) {
        return Ok(nothing(now, false));
    }
    let Known { epoch, base, pending } = known;
    // A page tells what `seen` sees. The cursor after it may see less, but never more.
    let (epoch, target, seen, after) = match pending {
        Some(Pending { target, after }) => {
            // Of what a bounded snapshot does not see, some was on the first page, and the rest must not wait
            // until the transactions have ended.
            let seen = if target.is_full() { now.clone() } else { target.clone() };
            (epoch, target, seen, after)
        }
        // From here on the cursor is of the epoch that `now` is of: as what it knows was proven, it is of its past.
        None => (here.epoch, now.clone().bounded(), now.clone(), Position::START),
    };
    // One more than fits says whether there is more.
    let mut rows = rows(db, asker, &base, &seen, after, limit.saturating_add(1)).await?;
    let overflows = usize::try_from(limit).is_ok_and(|limit| rows.len() > limit);
    if overflows {
        rows.pop();
    }
    let (next, more) = match rows.last() {
        Some(last) if overflows => {
            let pending = Some(Pending { target, after: last.position() });
            (Known { epoch, base, pending }.to_string(), true)
        }
        _ => {
            // The end of a backlog is not where the asker stands now: what came while they paged, or were
            // away in the middle of it, is behind that.
            let is_past = seen != now;
            let more = is_past && !self::rows(db, asker, &target, &now, Position::START, 1).await?.is_empty();
            (Known { epoch, base: target, pending: None }.to_string(), more)
        }
    };
    let ids: Vec<MessageId> = rows.iter().filter_map(|row| row.message_id).collect();
    let loaded = if ids.is_empty() { Vec::new() } else { messages::load(db, &ids).await? };
    let mut messages: HashMap<MessageId, StoredMessage> =
        loaded.into_iter().map(|message| (message.id, message)).collect();
    let changes = rows.into_iter().filter_map(|row| row.into_change(&mut messages)).collect();
    Ok(Page { changes, cursor: next, more, complete: true })
}

/// Where the database stands, and what a cursor is worth there.
struct Here {
    /// The newest epoch that `now` sees.
    epoch: i64,
    /// What can be seen.
    now: Snapshot,
    /// A cursor proves something if it ends here or before; `None` where it is of no epoch of this history.
    proven_end: Option<u64>,
}

impl Here {
    async fn look(db: &Db, known: Option<&Known>) -> Result<Self, Error> {
        // One statement, and so one snapshot. The timeline of the cluster is looked at anew: a standby may
        // have taken over since the epoch was drawn.
        let row = sqlx::query!(
            r#"select e.epoch, pg_current_snapshot()::text as "snapshot!", k.ordinal is not null as "is_known!",
                      (select min(l.start_xid) from change_epochs l where l.ordinal > k.ordinal) as "began?"
               from change_epochs e
               left join (change_clock c join change_epochs k on k.clock_id = c.clock_id)
                   on k.epoch = $1
                  and k.timeline = ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
               order by e.ordinal desc limit 1"#,
            known.map(|known| known.epoch)
        )
        .fetch_one(&db.pool)
        .await?;
        let now = Snapshot::parse(&row.snapshot).ok_or_else(|| Error::internal("a snapshot is not as we know them"))?;
        // Past the beginning of a later epoch, or of the snapshot of now, is a future that was lost.
        let began = row.began.map_or(Ok(u64::MAX), u64::try_from).map_err(Error::internal)?;
        let proven_end = row.is_known.then(|| now.end().min(began));
        Ok(Self { epoch: row.epoch, now, proven_end })
    }
}

/// One row of `changes_since`, with the names that go with it.
#[derive(Debug)]
struct Row {
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

async fn rows(
    db: &Db,
    asker: UserId,
    base: &Snapshot,
    target: &Snapshot,
    after: Position,
    at_most: i64,
) -> Result<Vec<Row>, Error> {
    // Subqueries, not joins: a name a row, however few the planner takes a function's rows to be. Who is no
    // longer in a group gets the name that it had then.
    Ok(sqlx::query_as!(
        Row,
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

impl Row {
    fn position(&self) -> Position {
        Position { conversation: self.conversation_id, part: self.part, place: self.place, tie: self.tie }
    }

    /// As its conversation is named by who asks.
    fn target(&self) -> Target {
        self.peer_id.map_or(Target::Group(GroupId(self.conversation_id)), Target::User)
    }

    fn into_change(self, messages: &mut HashMap<MessageId, StoredMessage>) -> Option<Change> {
        let (target, group) = (self.target(), GroupId(self.conversation_id));
        let kind = self.kind;
        Some(match (self.part, kind.as_str()) {
            (Position::EVENTS, "renameGroup" | "dropGroup") => {
                Change::Group { kind, group, group_name: self.group_name? }
            }
            (Position::EVENTS, _) => Change::Member {
                kind,
                group,
                group_name: self.group_name?,
                user: self.user_id?,
                user_name: self.user_name?,
            },
            (Position::NEW_MESSAGES | Position::CHANGED_MESSAGES, _) => {
                Change::Message { kind, message: Box::new(messages.remove(&self.message_id?)?) }
            }
            (Position::MARKERS, _) => {
                Change::Marker { kind, target, user: self.user_id?, seq: self.seq?, at: self.at? }
            }
            (_, "removeConversation") => Change::Removed { target, cleared_seq: self.seq? },
            _ => Change::Spam { target, spam: self.is_spam? },
        })
    }
}
