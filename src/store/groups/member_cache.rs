//! The member lists of groups that this node has seen, so that a busy group is not read again for
//! every message. A list is not invalidated by a change: whoever has changed something learns in the same
//! transaction which version holds, and takes a copy only where it is of that one. Versions are drawn at
//! random, so that one is never that of two lists, not even in two histories of a database.

use moka::sync::Cache;
use sqlx::PgConnection;

use crate::error::Error;
use crate::model::{ConversationId, UserId};
use crate::store::groups::MemberIds;

/// Most ids that are kept, over all lists: 8 bytes each.
const MAX_IDS: u64 = 4_000_000;

/// A member list, and the version that it held at.
#[derive(Clone, Debug)]
pub(in crate::store) struct MemberList {
    pub(in crate::store) version: i64,
    pub(in crate::store) ids: MemberIds,
}

/// Member lists by group.
#[derive(Clone, Debug)]
pub(in crate::store) struct MemberLists(Cache<ConversationId, MemberList>);

impl MemberLists {
    pub(in crate::store) fn new() -> Self {
        let weight = |_: &ConversationId, list: &MemberList| {
            u32::try_from(list.ids.len()).unwrap_or(u32::MAX).saturating_add(16)
        };
        Self(Cache::builder().max_capacity(MAX_IDS).weigher(weight).build())
    }

    pub(in crate::store) fn get(&self, group: ConversationId) -> Option<MemberList> {
        self.0.get(&group)
    }

    /// Forgets all of them: they may be of another history.
    pub(in crate::store) fn clear(&self) {
        self.0.invalidate_all();
    }

    pub(in crate::store) fn put(&self, group: ConversationId, list: MemberList) {
        self.0.insert(group, list);
    }
}

/// Everybody in a conversation that `user` is in, whose list has this version. Belongs into the
/// transaction that has changed something: once it is committed, nothing may fail before others hear of it.
pub(in crate::store) async fn told(
    connection: &mut PgConnection,
    lists: &MemberLists,
    user: UserId,
    conversation: ConversationId,
    peer: Option<UserId>,
    version: i64,
) -> Result<MemberIds, Error> {
    if let Some(peer) = peer {
        return Ok(if peer == user { MemberIds::from([user]) } else { MemberIds::from([user, peer]) });
    }
    if let Some(list) = lists.get(conversation).filter(|list| list.version == version) {
        return Ok(list.ids);
    }
    let row = sqlx::query!(
        r#"select c.member_version, array(select m.user_id from members m where m.conversation_id = c.id) as "ids!"
           from conversations c where c.id = $1"#,
        conversation.0
    )
    .fetch_one(connection)
    .await?;
    let ids: MemberIds = row.ids.into_iter().map(UserId).collect();
    lists.put(conversation, MemberList { version: row.member_version, ids: ids.clone() });
    Ok(ids)
}
