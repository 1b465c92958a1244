//! A cache of the member lists of groups, so that the list of a busy group is not read again for every message.
//!
//! A change does not invalidate an entry: a transaction that needs the list reads which version of it is current, and
//! uses a cached copy only if it has that version. Versions are random numbers, so that
//! no two lists share one, not even in two histories of the database.

use std::sync::Arc;

use moka::sync::Cache;
use sqlx::PgConnection;

use crate::error::Error;
use crate::model::{ConversationId, UserId};

/// Maximum number of ids that are cached, over all lists; 8 bytes each.
const MAX_CACHED_IDS: u64 = 4_000_000;
/// What an entry counts besides its ids.
const ENTRY_OVERHEAD_IDS: u32 = 16;

/// The members of a group as of one commit.
pub type MemberIds = Arc<[UserId]>;

/// A member list and its version.
#[derive(Clone, Debug)]
pub(in crate::store) struct MemberList {
    pub(in crate::store) version: i64,
    pub(in crate::store) ids: MemberIds,
}

/// The cached member lists, by group. Clones share the entries.
#[derive(Clone, Debug)]
pub(in crate::store) struct MemberCache(Cache<ConversationId, MemberList>);

impl MemberCache {
    pub(in crate::store) fn new() -> Self {
        let weight = |_: &ConversationId, list: &MemberList| {
            u32::try_from(list.ids.len()).unwrap_or(u32::MAX).saturating_add(ENTRY_OVERHEAD_IDS)
        };
        Self(Cache::builder().max_capacity(MAX_CACHED_IDS).weigher(weight).build())
    }

    pub(in crate::store) fn get(&self, group: ConversationId) -> Option<MemberList> {
        self.0.get(&group)
    }

    /// Evicts all entries, which may be of another history of the database.
    pub(in crate::store) fn clear(&self) {
        self.0.invalidate_all();
    }

    pub(in crate::store) fn put(&self, group: ConversationId, list: MemberList) {
        self.0.insert(group, list);
    }
}

/// The members of a conversation that `user` is in, as of `version` of its member list; of a dialog both sides.
///
/// Call it within the transaction that has changed something: once that is committed, nothing may fail before the
/// change is pushed.
pub(in crate::store) async fn members_at_version(
    connection: &mut PgConnection,
    cache: &MemberCache,
    user: UserId,
    conversation: ConversationId,
    peer: Option<UserId>,
    version: i64,
) -> Result<MemberIds, Error> {
    if let Some(peer) = peer {
        return Ok(if peer == user { MemberIds::from([user]) } else { MemberIds::from([user, peer]) });
    }
    if let Some(list) = cache.get(conversation).filter(|list| list.version == version) {
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
    cache.put(conversation, MemberList { version: row.member_version, ids: ids.clone() });
    Ok(ids)
}
