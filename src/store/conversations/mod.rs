//! Conversations: finding the one that a request means, and how it stands for one of its members.

pub mod chat_list;
pub mod history;
pub mod receipts;
pub mod settings;

use super::Db;
use crate::error::{Error, Field};
use crate::model::{ConversationId, GroupId, MessageId, Seq, Target, Timestamp, UserId};

/// A conversation and how far it goes for one of its members.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Which.
    pub id: ConversationId,
    /// `seq` of its newest message, 0 where there is none.
    pub last_seq: Seq,
    /// What is not past this `seq` is gone for them.
    pub cleared_seq: Seq,
}

/// How a conversation stands for one of its members.
#[derive(Debug)]
pub struct ConversationState {
    /// Which.
    pub id: ConversationId,
    /// Whether it is a group.
    pub is_group: bool,
    /// Name of the group, in one.
    pub group_name: Option<String>,
    /// The other side of a dialog; oneself in notes.
    pub peer_id: Option<UserId>,
    /// Their current name.
    pub peer_name: Option<String>,
    /// `seq` of its newest message, 0 where there is none.
    pub last_seq: Seq,
    /// What is not past this `seq` is gone for them.
    pub cleared_seq: Seq,
    /// Read up to here.
    pub read_seq: Seq,
    /// Arrived up to here.
    pub delivered_seq: Seq,
    /// Messages of others past `read_seq`.
    pub unread_count: i64,
    /// Whether they called it spam.
    pub is_spam: bool,
    /// Whether they are an admin, in a group.
    pub is_admin: bool,
    /// Since when they are in it.
    pub joined_at: Timestamp,
    /// Its newest message, unless that is gone for them.
    pub last_message_id: Option<MessageId>,
    /// When the newest message came, else when it was made: its place in the list.
    pub moved_at: Timestamp,
}

impl ConversationState {
    /// As its member names it.
    #[must_use]
    pub fn target(&self) -> Target {
        match self.peer_id {
            Some(peer) => Target::User(peer),
            None => Target::Group(GroupId(self.id.0)),
        }
    }
}

/// Selects [`ConversationState`]s: `$ids` is a query that finds their `id` and a `place` in the
/// result; `$1` is the member, and the arguments are the parameters.
macro_rules! select_states {
    ($ids:tt, $($argument:expr),+ $(,)?) => {
        sqlx::query_as!(
            $crate::store::conversations::ConversationState,
            r#"select s.id as "id!: _", s.is_group as "is_group!", s.group_name as "group_name?",
                      s.peer_id as "peer_id?: _", s.peer_name as "peer_name?", s.last_seq as "last_seq!",
                      s.cleared_seq as "cleared_seq!", s.read_seq as "read_seq!", s.delivered_seq as "delivered_seq!",
                      s.unread_count as "unread_count!", s.is_spam as "is_spam!", s.is_admin as "is_admin!",
                      s.joined_at as "joined_at!: _", s.last_message_id as "last_message_id?: _",
                      s.moved_at as "moved_at!: _"
               from ("# + $ids + r#") found
               cross join lateral (
                   -- One by one, however many a plan takes them to be.
                   select * from conversation_states s where s.id = found.id and s.user_id = $1 offset 0) s
               order by found.place"#,
            $($argument),+
        )
    };
}
pub(in crate::store) use select_states;

/// Finds a conversation for one of its members; `None` where a dialog has not begun.
///
/// # Errors
/// `not_found` where there is no such group or never was such a user, `not_a_member` where the asker
/// is not in the group.
pub async fn find(db: &Db, asker: UserId, target: Target) -> Result<Option<Extent>, Error> {
    match target {
        Target::User(other) => dialog(db, asker, other).await,
        Target::Group(id) => group(db, asker, id).await.map(Some),
    }
}

async fn dialog(db: &Db, asker: UserId, other: UserId) -> Result<Option<Extent>, Error> {
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
    Ok(Some(Extent { id: id.into(), last_seq, cleared_seq }))
}

async fn group(db: &Db, asker: UserId, group: GroupId) -> Result<Extent, Error> {
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
    Ok(Extent { id: row.id.into(), last_seq: row.last_seq, cleared_seq })
}

/// How a conversation stands for one of its members, where they are in it.
///
/// # Errors
/// Only where the database fails.
pub async fn state(db: &Db, member: UserId, id: ConversationId) -> Result<Option<ConversationState>, Error> {
    let states = select_states!("select $2::bigint as id, 1 as place", member.0, id.0);
    Ok(states.fetch_optional(&db.pool).await?)
}

/// What is spam to somebody.
///
/// # Errors
/// Only where the database fails.
pub async fn spam_of(db: &Db, member: UserId) -> Result<Vec<Target>, Error> {
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
pub struct Member {
    /// Who.
    pub id: UserId,
    /// Their current name.
    pub name: String,
    /// Whether they are an admin, in a group.
    pub is_admin: bool,
    /// Since when they are in it.
    pub joined_at: Timestamp,
    /// Read up to here.
    pub read_seq: Seq,
    /// Arrived up to here.
    pub delivered_seq: Seq,
}

/// Who is in a conversation.
#[derive(Debug)]
pub struct Members {
    /// The longest-standing of them.
    pub first: Vec<Member>,
    /// All admins, in a group.
    pub admins: Vec<UserId>,
    /// How many there are.
    pub count: i64,
}

/// Who is in a conversation: the first `limit` of them, all admins, and how many there are. Who has
/// deleted their account stays in dialogs, and in no group.
///
/// # Errors
/// Only where the database fails.
pub async fn members(db: &Db, id: ConversationId, limit: i64) -> Result<Members, Error> {
    let first = sqlx::query_as!(
        Member,
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
    Ok(Members { first, admins, count: counted.count })
}
