//! The member lists of groups that this node has seen, so that a busy group is not read again for
//! every message. A list is never invalidated: the writer learns from each commit which version
//! held, and takes a copy only where it has that one.

use moka::sync::Cache;

use super::groups::MemberIds;
use crate::model::ConversationId;

/// Most ids that are kept, over all lists: 8 bytes each.
const MAX_IDS: u64 = 4_000_000;

/// A member list, and the version that it held at.
#[derive(Clone, Debug)]
pub(super) struct MemberList {
    pub(super) version: i64,
    pub(super) ids: MemberIds,
}

/// Member lists by group.
#[derive(Clone, Debug)]
pub(super) struct MemberLists(Cache<ConversationId, MemberList>);

impl MemberLists {
    pub(super) fn new() -> Self {
        let weight = |_: &ConversationId, list: &MemberList| {
            u32::try_from(list.ids.len()).unwrap_or(u32::MAX).saturating_add(16)
        };
        Self(Cache::builder().max_capacity(MAX_IDS).weigher(weight).build())
    }

    pub(super) fn get(&self, group: ConversationId) -> Option<MemberList> {
        self.0.get(&group)
    }

    pub(super) fn put(&self, group: ConversationId, list: MemberList) {
        self.0.insert(group, list);
    }
}
