//! Conversations: finding the one that a request names, its state for one member, and its members. The
//! chat list, the history, read and delivery receipts and a member's own settings are files of their own.

pub mod chat_list;
pub mod history;
pub mod receipts;
pub mod settings;

use super::Db;
use crate::error::{Error, Field};
use crate::model::{ConversationId, GroupId, MessageId, Seq, Target, Timestamp, UserId};

/// The messages of a conversation that one of its members can see: those after `cleared_seq`, up to
/// `last_seq`.
#[derive(Clone, Copy, Debug)]
pub struct VisibleRange {
    /// The conversation.
    pub id: ConversationId,
    /// `seq` of its newest message; 0 if there is none.
    pub last_seq: Seq,
    /// The member has cleared the history up to and including this `seq`.
    pub cleared_seq: Seq,
}

/// A row of the view `conversation_states`: a conversation for one of its members.
#[derive(Debug)]
pub struct ConversationState {
    /// The conversation; a group's id is the same number.
    pub id: ConversationId,
    /// False for a dialog.
    pub is_group: bool,
    /// The name of a group.
    pub group_name: Option<String>,
    /// The other side of a dialog; the member's own id in a dialog with oneself.
    pub peer_id: Option<UserId>,
    /// The current name of the other side of a dialog.
    pub peer_name: Option<String>,
    /// `seq` of its newest message; 0 if there is none.
    pub last_seq: Seq,
    /// The member has cleared the history up to and including this `seq`.
    pub cleared_seq: Seq,
    /// The member's read marker.
    pub read_seq: Seq,
    /// The member's delivery marker.
    pub delivered_seq: Seq,
    /// Messages of others after `read_seq`.
    pub unread_count: i64,
    /// Whether the member has marked it as spam.
    pub is_spam: bool,
    /// Whether the member is an admin of the group; false in a dialog.
    pub is_admin: bool,
    /// When the member joined; in a dialog, when it was started.
    pub joined_at: Timestamp,
    /// Its newest message, unless the member has cleared it.
    pub last_message_id: Option<MessageId>,
    /// When the newest message was stored, or else when the conversation was created: its place in the
    /// chat list.
    pub last_activity_at: Timestamp,
}

impl ConversationState {
    /// The conversation as its member names it.
    #[must_use]
    pub fn target(&self) -> Target {
        match self.peer_id {
            Some(peer) => Target::User(peer),
            None => Target::Group(GroupId(self.id.0)),
        }
    }
}

/// Selects [`ConversationState`]s: `$ids` is a query for their `id` and their `place` in the result. The
/// arguments are its parameters, and `$1` is the member.
macro_rules! select_states {
    ($ids:tt, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            $crate::store::conversations::ConversationState,
            r#"select s.id as "id!: _", s.is_group as "is_group!", s.group_name as "group_name?",
                      s.peer_id as "peer_id?: _", s.peer_name as "peer_name?", s.last_seq as "last_seq!",
                      s.cleared_seq as "cleared_seq!", s.read_seq as "read_seq!", s.delivered_seq as "delivered_seq!",
                      s.unread_count as "unread_count!", s.is_spam as "is_spam!", s.is_admin as "is_admin!",
                      s.joined_at as "joined_at!: _", s.last_message_id as "last_message_id?: _",
                      s.last_activity_at as "last_activity_at!: _"
               from ("# + $ids + r#") found
               cross join lateral (
                   -- `offset 0` keeps this from becoming a join: a few rows, each by an index.
                   select * from conversation_states s where s.id = found.id and s.user_id = $1 offset 0) s
               order by found.place"#,
            $($argument),+
        )
    };
}
pub(in crate::store) use select_states;

/// Finds a conversation and what `asker` can see of it; `None` if a dialog has not been started.
///
/// # Errors
/// `not_found` if there is no such group, or there has never been such a user; `not_a_member` if
/// the asker is not in the group.
pub async fn visible_range(db: &Db, asker: UserId, target: Target) -> Result<Option<VisibleRange>, Error> {
    match target {
        Target::User(other) => dialog_range(db, asker, other).await,
        Target::Group(id) => group_range(db, asker, id).await.map(Some),
    }
}

async fn dialog_range(db: &Db, asker: UserId, other: UserId) -> Result<Option<VisibleRange>, Error> {
    let row = sqlx::query!(
        r#"select c.id as "id?", c.last_seq as "last_seq?", me.cleared_seq as "cleared_seq?"
           from users o
           left join conversations c on c.low_user_id = least($1::bigint, $2) and c.high_user_id = greatest($1::bigint, $2)
           left join members me on me.conversation_id = c.id and me.user_id = $1
           where o.id = $2"#,
        asker.0,
        other.0
    )
    .fetch_optional(&db.pool)
    .await?
    .ok_or_else(|| Error::no_such_user(Field::ReceiverId))?;
    let (Some(id), Some(last_seq), Some(cleared_seq)) = (row.id, row.last_seq, row.cleared_seq) else {
        return Ok(None);
    };
    Ok(Some(VisibleRange { id: id.into(), last_seq, cleared_seq }))
}

async fn group_range(db: &Db, asker: UserId, group: GroupId) -> Result<VisibleRange, Error> {
    let row = sqlx::query!(
        r#"select c.id, c.last_seq, me.cleared_seq as "cleared_seq?"
           from conversations c left join members me on me.conversation_id = c.id and me.user_id = $2
           where c.id = $1 and c.kind = 'group' and c.ended_at is null"#,
        group.0,
        asker.0
    )
    .fetch_optional(&db.pool)
    .await?
    .ok_or_else(Error::no_such_group)?;
    let cleared_seq = row.cleared_seq.ok_or_else(Error::not_a_member)?;
    Ok(VisibleRange { id: row.id.into(), last_seq: row.last_seq, cleared_seq })
}

/// Loads the state of a conversation for one of its members; `None` if the user is not in it.
///
/// # Errors
/// Only if the database fails.
pub async fn load_state(db: &Db, member: UserId, id: ConversationId) -> Result<Option<ConversationState>, Error> {
    let states = select_states!("select $2::bigint as id, 1 as place", member.0, id.0);
    Ok(states.fetch_optional(&db.pool).await?)
}

/// Lists the conversations that a user has marked as spam.
///
/// # Errors
/// Only if the database fails.
pub async fn list_spam(db: &Db, member: UserId) -> Result<Vec<Target>, Error> {
    let rows = sqlx::query!(
        r#"select conversation_id as "group_id: GroupId", peer_id as "peer_id: UserId"
           from members where user_id = $1 and is_spam"#,
        member.0
    )
    .fetch_all(&db.pool)
    .await?;
    Ok(rows.into_iter().map(|row| row.peer_id.map_or(Target::Group(row.group_id), Target::User)).collect())
}

/// A member of a conversation.
#[derive(Debug)]
pub struct MemberState {
    /// The member.
    pub id: UserId,
    /// The member's current name.
    pub name: String,
    /// Whether the member is an admin of the group; false in a dialog.
    pub is_admin: bool,
    /// When the member joined; in a dialog, when it was started.
    pub joined_at: Timestamp,
    /// The read marker.
    pub read_seq: Seq,
    /// The delivery marker.
    pub delivered_seq: Seq,
}

/// The members of a conversation, with only the first of a large group named.
#[derive(Debug)]
pub struct MemberOverview {
    /// Those who joined first.
    pub first: Vec<MemberState>,
    /// All admins of a group, in the order of their ids; empty in a dialog.
    pub admins: Vec<UserId>,
    /// The number of all members.
    pub count: i64,
}

/// Loads the members of a conversation: the first `limit`, all admins, and the number of all. A deleted
/// account stays in its dialogs and is left out of groups.
///
/// # Errors
/// Only if the database fails.
pub async fn load_members(db: &Db, id: ConversationId, limit: i64) -> Result<MemberOverview, Error> {
    let first = sqlx::query_as!(
        MemberState,
        "select u.id, u.name, m.is_admin, m.joined_at, m.read_seq, m.delivered_seq
         from members m join users u on u.id = m.user_id
         where m.conversation_id = $1 and (m.kind = 'dialog' or u.deleted_at is null)
         order by m.joined_at, m.user_id limit $2",
        id.0,
        limit
    );
    let counted = sqlx::query!(
        r#"select count(*) - (select count(*) from account_deletions d
                              join members g on g.conversation_id = $1 and g.user_id = d.user_id and g.kind = 'group')
                  as "count!",
                  array_agg(m.user_id order by m.user_id) filter (
                      where m.is_admin and not exists (select from account_deletions d where d.user_id = m.user_id))
                  as admins
           from members m where m.conversation_id = $1"#,
        id.0
    );
    let first = first.fetch_all(&db.pool).await?;
    let counted = counted.fetch_one(&db.pool).await?;
    let admins = counted.admins.unwrap_or_default().into_iter().map(UserId).collect();
    Ok(MemberOverview { first, admins, count: counted.count })
}
